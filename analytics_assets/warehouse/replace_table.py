"""Statements that replace a table by the rows of a SELECT, so that no reader finds it missing or half full."""

from typing import Any

from dlt.destinations.sql_client import SqlClientBase

REPLACING = frozenset({"duckdb", "snowflake", "bigquery", "databricks"})
"""sqlglot's names of databases that replace a table and its rows in one statement."""

TSQL = frozenset({"tsql", "fabric"})
"""sqlglot's names of what speaks Microsoft's SQL."""

CLICKHOUSE = "clickhouse"


def create_as(dialect: str, table: str, query: str, *, replace: bool = False) -> str:
    """The statement that makes a table of a SELECT, in place of one of its name if `replace` says so.

    Args:
        dialect: sqlglot's name of the database.
        table: Name of the table in SQL.
        query: The SELECT.
        replace: Whether the table may be there. Only some databases can replace it at once.
    """
    if dialect in TSQL:
        return f"SELECT * INTO {table} FROM ({query}) AS made"
    engine = " ENGINE = MergeTree ORDER BY tuple()" if dialect == CLICKHOUSE else ""
    return f"CREATE {'OR REPLACE ' if replace else ''}TABLE {table}{engine} AS {query}"


def replace_table(sql: SqlClientBase[Any], dialect: str, name: str, query: str) -> None:
    """Replaces a table of the client's dataset, as the database does it best.

    Args:
        sql: Executes the statements.
        dialect: sqlglot's name of the database.
        name: Name of the table. It need not exist.
        query: The SELECT that has the new rows.
    """
    table, new, old = map(sql.make_qualified_table_name, (name, f"{name}__new", f"{name}__old"))
    if dialect in REPLACING or dialect == CLICKHOUSE:
        sql.execute_sql(create_as(dialect, table, query, replace=True))
        return
    sql.execute_sql(f"DROP TABLE IF EXISTS {new}")
    sql.execute_sql(create_as(dialect, new, query))
    if dialect == "mysql":
        # It commits after each statement, but renames several tables at once.
        sql.execute_sql(f"DROP TABLE IF EXISTS {old}")
        sql.execute_sql(f"CREATE TABLE IF NOT EXISTS {table} AS SELECT * FROM {new} WHERE 1 = 0")
        sql.execute_sql(f"RENAME TABLE {table} TO {old}, {new} TO {table}")
        sql.execute_sql(f"DROP TABLE {old}")
        return
    rename = f"ALTER TABLE {new} RENAME TO {sql.escape_column_name(name)}"
    with sql.begin_transaction():
        if dialect == "sqlite":
            # Python's driver begins no transaction before such statements.
            sql.execute_sql("BEGIN")
        sql.execute_sql(f"DROP TABLE IF EXISTS {table}")
        sql.execute_sql(f"EXEC sp_rename '{new}', '{name}'" if dialect in TSQL else rename)
