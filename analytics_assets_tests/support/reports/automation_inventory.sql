SELECT language, count(*) AS scripts
FROM automation_scripts
WHERE deleted_at IS NULL
GROUP BY ALL
