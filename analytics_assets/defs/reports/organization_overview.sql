SELECT
    organizations.id AS organization_id,
    organizations.name,
    organizations.node_approval_mode,
    count(locations.id) AS locations,
    count(locations.address) AS locations_with_address
FROM organizations
LEFT JOIN locations
    ON locations.organization_id = organizations.id AND locations.deleted_at IS NULL
WHERE organizations.deleted_at IS NULL
GROUP BY ALL
ORDER BY ALL
