-- The operating systems of a script stay in one value, so that each script is counted once.
SELECT
    language,
    operating_systems,
    active,
    count(*) AS scripts,
    count(DISTINCT last_updated_by) AS editors,
    min(updated_on) AS first_edit,
    max(updated_on) AS last_edit
FROM (
    SELECT
        language,
        array_to_string(list_sort(from_json(operating_systems, '["VARCHAR"]')), ', ') AS operating_systems,
        active,
        last_updated_by,
        updated_on
    FROM automation_scripts
    WHERE deleted_at IS NULL
) AS scripts
GROUP BY ALL
ORDER BY ALL
