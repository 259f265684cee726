"""SQL that is written once, as DuckDB speaks it, and spelled for the destination by sqlglot.

What sqlglot 30 does not know of a destination stands here.
"""

import re
from collections.abc import Mapping

import sqlglot
from sqlglot import exp

from analytics_assets.warehouse.errors import DestinationError

DUCKDB_DIALECT = "duckdb"

SORTED_TEXTS = re.compile(r"""ARRAY_TO_STRING\(LIST_SORT\(FROM_JSON\((\w+), '\["VARCHAR"\]'\)\), ', '\)""")
"""DuckDB's expression for the texts of a JSON list in one text, sorted, with commas between them; null for what is no
list. No other database takes JSON apart as DuckDB does."""

_OPENJSON = (
    "CASE WHEN LEFT(LTRIM(CAST({0} AS NVARCHAR(MAX))), 1) = '[' THEN (SELECT coalesce(STRING_AGG(value, ', ')"
    " WITHIN GROUP (ORDER BY value COLLATE Latin1_General_BIN2), '') FROM OPENJSON({0})) END"
)

SPELLED_SORTED_TEXTS = {
    "postgres": (
        "CASE WHEN jsonb_typeof(CAST({0} AS JSONB)) = 'array' THEN (SELECT coalesce(string_agg(item, ', ' ORDER BY item"
        " COLLATE \"C\"), '') FROM jsonb_array_elements_text(CAST({0} AS JSONB)) AS items(item)) END"
    ),
    # A column of JSON, because one of text would have the character set of the database.
    "mysql": (
        "CASE WHEN JSON_TYPE({0}) = 'ARRAY' THEN (SELECT coalesce(GROUP_CONCAT(JSON_UNQUOTE(item) ORDER BY"
        " JSON_UNQUOTE(item) COLLATE utf8mb4_bin SEPARATOR ', '), '') FROM JSON_TABLE({0}, '$[*]' COLUMNS"
        " (item JSON PATH '$')) AS items WHERE JSON_TYPE(item) <> 'NULL') END"
    ),
    "sqlite": (
        "CASE WHEN json_type({0}) = 'array' THEN (SELECT coalesce(group_concat(value, ', '), '')"
        " FROM (SELECT value FROM json_each({0}) ORDER BY value) AS items) END"
    ),
    "snowflake": "CASE WHEN IS_ARRAY({0}) THEN ARRAY_TO_STRING(ARRAY_SORT({0}), ', ') END",
    "bigquery": (
        "CASE WHEN JSON_TYPE({0}) = 'array' THEN (SELECT coalesce(STRING_AGG(item, ', ' ORDER BY item), '')"
        " FROM UNNEST(JSON_VALUE_ARRAY({0})) AS item) END"
    ),
    "redshift": (
        "CASE WHEN IS_ARRAY({0}) THEN (SELECT coalesce(LISTAGG(CAST(item AS VARCHAR), ', ')"
        " WITHIN GROUP (ORDER BY CAST(item AS VARCHAR)), '') FROM {0} AS item) END"
    ),
    "databricks": "array_join(array_sort(from_json({0}, 'array<string>')), ', ')",
    "clickhouse": (
        "if(JSONType(ifNull({0}, 'null')) = 'Array',"
        " arrayStringConcat(arraySort(JSONExtract(ifNull({0}, ''), 'Array(String)')), ', '), NULL)"
    ),
    "tsql": _OPENJSON,
    "fabric": _OPENJSON,
}
"""The same expression for other databases, by sqlglot's name of them."""

ZONELESS = frozenset({"mysql", "sqlite"})
"""Databases in which dlt keeps points in time without a zone, in UTC."""


def spell(query: str, dialect: str, tables: Mapping[str, str]) -> str:
    """One SELECT as a destination spells it.

    An order without a limit goes: a table that is made of the rows has none, and not every database allows it there.

    Args:
        query: The SELECT, in DuckDB's SQL.
        dialect: sqlglot's name of the destination.
        tables: The tables that the query may name, as the destination spells them, by name.

    Raises:
        DestinationError: The query has something that cannot be said there.
    """
    try:
        tree = sqlglot.parse_one(query, read=DUCKDB_DIALECT)
        if not tree.args.get("limit"):
            tree.set("order", None)
        for select in tree.find_all(exp.Select):
            _spell_group_by_all(select)
        for table in list(tree.find_all(exp.Table)):
            if spelled := None if table.db else tables.get(table.name):
                table.replace(exp.alias_(exp.to_table(spelled, dialect=dialect), table.alias_or_name, table=True))
        tree = tree.transform(_spell_zone, dialect).transform(_spell_sorted_texts, dialect)
        if dialect == "clickhouse":
            # Without it a row that a join does not find has zeros in place of nulls.
            tree.set("settings", [exp.EQ(this=exp.to_identifier("join_use_nulls"), expression=exp.Literal.number(1))])
        return tree.sql(dialect, unsupported_level=sqlglot.ErrorLevel.RAISE)
    except (sqlglot.ParseError, sqlglot.UnsupportedError) as error:
        raise DestinationError(
            f"The query cannot be spelled for {dialect}: {str(error).partition('.')[0]}. Write it in what DuckDB and"
            f" {dialect} have in common."
        ) from error


def _spell_group_by_all(select: exp.Select) -> None:
    group = select.args.get("group")
    if group and group.args.get("all"):
        keys = [each.unalias().copy() for each in select.expressions if not each.find(exp.AggFunc)]
        select.set("group", exp.Group(expressions=keys) if keys else None)


def _spell_zone(node: "exp.Expr", dialect: str) -> "exp.Expr":
    """The clock in UTC at a point in time, where sqlglot leaves out the zone or takes the session's."""
    if not isinstance(node, exp.AtTimeZone):
        return node
    moment: exp.Expr = node.this
    if dialect in ZONELESS:
        return moment
    if dialect == "clickhouse":
        return exp.func("toTimeZone", moment, node.args["zone"])
    if dialect == "databricks":
        return exp.func("to_utc_timestamp", moment, exp.func("current_timezone"))
    return node


def _spell_sorted_texts(node: "exp.Expr", dialect: str) -> "exp.Expr":
    found = SORTED_TEXTS.fullmatch(node.sql(DUCKDB_DIALECT)) if isinstance(node, exp.Func) else None
    if not found:
        return node
    if dialect not in SPELLED_SORTED_TEXTS:
        raise sqlglot.UnsupportedError(f"it takes apart the JSON of {found[1]}")
    return sqlglot.parse_one(SPELLED_SORTED_TEXTS[dialect].format(found[1]), read=dialect)
