SELECT organizations.id AS organization_id, count(locations.id) AS locations
FROM organizations
LEFT JOIN locations ON locations.organization_id = organizations.id AND locations.deleted_at IS NULL
WHERE organizations.deleted_at IS NULL
GROUP BY ALL
