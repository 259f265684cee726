-- A day is a day in UTC, whatever the time zone of the session. The result is null until an activity has ended.
SELECT
    (activity_time AT TIME ZONE 'UTC')::DATE AS day,
    activity_type,
    activity_result,
    count(*) AS activities,
    count(DISTINCT device_id) AS devices,
    count(*) FILTER (severity IN ('MAJOR', 'CRITICAL')) AS severe
FROM activities
GROUP BY ALL
ORDER BY ALL
