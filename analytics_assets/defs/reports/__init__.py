"""Tables in the schema `reports`, each made by an SQL file from those of the assets."""
