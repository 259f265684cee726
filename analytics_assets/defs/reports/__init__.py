"""Reports: tables in the schema `reports`. An SQL file makes each of them from the tables of the assets."""
