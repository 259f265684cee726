-- A day is a day in UTC, whatever the time zone of the session. The result is null until an activity has ended.
SELECT
    CAST(activity_time AT TIME ZONE 'UTC' AS DATE) AS day,
    activity_type,
    activity_result,
    count(*) AS activities,
    count(DISTINCT device_id) AS devices,
    count(CASE WHEN severity IN ('MAJOR', 'CRITICAL') THEN 1 END) AS severe
FROM activities
GROUP BY ALL
ORDER BY ALL
