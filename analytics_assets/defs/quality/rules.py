"""The checks of a resource, and how each judges the profile of its table."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from analytics_assets.api.catalog import RESCUED, Resource
from analytics_assets.api.values.columns import MOST_COLUMNS, column_name, key_columns
from analytics_assets.api.values.timestamps import CLOCK_SKEW
from analytics_assets.defs.assets.specs import UNDECLARED
from analytics_assets.defs.automation.freshness import data_window
from analytics_assets.defs.display.durations import describe_duration
from analytics_assets.defs.display.progress import count
from analytics_assets.defs.names import Names
from analytics_assets.warehouse.profile import SHOWN_IDS, Odd, TableProfile, references, required_columns

MOST_WITHOUT_CURSOR = 0.1
"""Largest share of live rows (0 to 1) without a cursor that passes. A few have none, such as a group that nobody has
edited yet; if the API renamed the field, all have none."""

SHOWN_FIELDS = 20
"""Most fields that a check names."""

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN

Outcome = tuple[dict[str, Any], str | None]
"""The metadata of a check's result, and a text that says what is wrong; `None` if the check passes."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check of one resource."""

    name: str
    severity: dg.AssetCheckSeverity
    """`ERROR` if the table is wrong, `WARN` if somebody should look at the API or the catalog."""
    description: str
    """What passes, in Markdown for the UI."""
    judge: Callable[[TableProfile], Outcome]
    """Judges the profile of the resource's table."""
    other_inputs: tuple[str, ...] = ()
    """Names of other resources whose tables the check reads."""


def checks_of(names: Names, resource: Resource, cron: str) -> list[Check]:
    """The checks of a resource that is synced by `cron`. They follow from its entry in the catalog."""
    checks = [_primary_key(resource), _last_load(), _undeclared_columns(), _values_fit(resource, names.table(resource))]
    if required_columns(resource):
        checks.append(_not_null(resource))
    if resource.cursor:
        checks += [_cursor_freshness(resource, cron), _rows_without_cursor(resource)]
    checks += [
        _reference_exists(resource, column.name, names.connector.by_name[column.references], names)
        for column in references(resource)
        if column.references
    ]
    return checks


def no_table(table: str) -> str:
    """The description of a check's result for a table that does not exist."""
    return f"There is no table {table} yet: sync it."


def _primary_key(resource: Resource) -> Check:
    names = ", ".join(f"`{name}`" for name in key_columns(resource))
    is_unique = "is unique and never null" if len(resource.key_names) == 1 else "are unique together, and never null"

    def judge(profile: TableProfile) -> Outcome:
        wrong = profile.null_keys or profile.repeated_keys
        return (
            {"rows": profile.rows, "null_keys": profile.null_keys, "repeated_keys": profile.repeated_keys},
            "Some rows share a key or have none. Run with mode: rebuild to load the table anew." if wrong else None,
        )

    return Check("primary_key", ERROR, f"{names} {is_unique}, in all rows of the table.", judge)


def _not_null(resource: Resource) -> Check:
    names = ", ".join(f"`{column_name(column.name)}`" for column in required_columns(resource))

    def judge(profile: TableProfile) -> Outcome:
        empty = [name for name, count in profile.nulls.items() if count]
        return (
            {f"nulls_in_{name}": count for name, count in profile.nulls.items()},
            f"These columns have nulls, though the catalog declares that they have none: {', '.join(empty)}."
            if empty
            else None,
        )

    return Check("not_null", ERROR, f"Every row has a value in {names}.", judge)


def _last_load() -> Check:
    def judge(profile: TableProfile) -> Outcome:
        load = profile.last_load
        if load is None:
            return {}, "dlt has recorded no load of this resource: sync it."
        wrong = None
        if not profile.has_table:
            wrong = "The table is gone."
        elif load.status:
            wrong = f"The last load has the status {load.status} instead of 0."
        # dlt records a load after its rows. Ids are epoch seconds as text, which compare like numbers until 2286.
        elif profile.newest_load_id and profile.newest_load_id > load.load_id:
            wrong = f"Load {profile.newest_load_id} died halfway: the next sync reads everything again."
        at = dg.MetadataValue.timestamp(load.at)
        return {"status": load.status, "load_id": load.load_id, "loaded_at": at}, wrong

    description = (
        "The last load of the resource is complete: dlt has recorded it in `_dlt_loads` with the status 0, and the"
        " table has no rows of a later one. Fails without a table."
    )
    return Check("last_load", ERROR, description, judge)


def _undeclared_columns() -> Check:
    def judge(profile: TableProfile) -> Outcome:
        found, others = profile.undeclared, sorted(profile.columnless)
        named = [f"{field} (column {column})" for field, column in found.items()][:SHOWN_FIELDS]
        wrong = f"The API sends {count(len(found), 'field')} not declared in the catalog: {', '.join(named)}."
        if others:
            wrong += f" {len(others)} more are in `{RESCUED}`, because a table has at most {MOST_COLUMNS} such columns."
        metadata: dict[str, Any] = {"columns": found, "count": len(found) + len(others)}
        if others:
            metadata["fields_without_a_column"] = others[:SHOWN_FIELDS]
        return metadata, wrong if found or others else None

    description = (
        "The API sends no field that the catalog does not declare. An undeclared field is loaded as JSON into a column"
        " of its own, which the check lists. To give it a type, declare it in the catalog and run with mode:"
        " rebuild."
    )
    return Check(UNDECLARED, WARN, description, judge)


def _values_fit(resource: Resource, table: str) -> Check:
    def judge(profile: TableProfile) -> Outcome:
        wrong = "".join(f"The values could not be checked: {why} " for why in profile.unseen)
        if profile.rescued:
            wrong += (
                f"Values that do not fit their column are in `{RESCUED}`: {_rows(resource, profile.rescued)}. If the"
                " API is right, change the column's type in the catalog, and run with mode: rebuild. "
            )
        if profile.replaced:
            wrong += f"U+FFFD replaces characters that databases cannot store: {_rows(resource, profile.replaced)}."
        metadata: dict[str, Any] = {
            "rows_rescued": sum(odd.rows for odd in profile.rescued.values()),
            "rows_replaced": sum(odd.rows for odd in profile.replaced.values()),
        }
        for name, found in (("rescued", profile.rescued), ("replaced", profile.replaced)):
            if found:
                metadata[name] = {field: {"rows": odd.rows, "ids": odd.ids} for field, odd in found.items()}
        return metadata, wrong.strip() or None

    description = (
        f"Each value of a live row fits its column. A value that does not fit is null there, and kept in `{RESCUED}`"
        f" under the name of its field: `SELECT {_key_label(resource)}, {RESCUED} FROM {table} WHERE"
        f" {RESCUED} IS NOT NULL`. Characters that databases cannot store are replaced by U+FFFD."
    )
    return Check("values_fit", WARN, description, judge)


def _key_label(resource: Resource) -> str:
    return ", ".join(key_columns(resource))


def _rows(resource: Resource, found: dict[str, Odd]) -> str:
    texts = []
    for field, odd in list(found.items())[:SHOWN_FIELDS]:
        more = ", ..." if odd.rows > len(odd.ids) else ""
        ids = ", ".join(map(str, odd.ids))
        texts.append(f"`{field}` in {count(odd.rows, 'row')} ({_key_label(resource)} {ids}{more})")
    return ", ".join(texts)


def _cursor_freshness(resource: Resource, cron: str) -> Check:
    window = data_window(resource, cron)

    def judge(profile: TableProfile) -> Outcome:
        metadata: dict[str, Any] = {"rows_in_future": profile.rows_in_future}
        wrong = []
        if profile.rows_in_future:
            wrong.append(f"`{resource.cursor}` is in the future in {profile.rows_in_future} rows.")
        if window:
            metadata["window_hours"] = round(window.total_seconds() / 3600, 2)
        if profile.newest:
            age = datetime.now(UTC) - profile.newest
            hours = round(age.total_seconds() / 3600, 2)
            metadata |= {"newest": dg.MetadataValue.timestamp(profile.newest), "age_hours": hours}
            if window and age > window:
                wrong.append(
                    f"The newest row is {describe_duration(age)} old, and {describe_duration(window)} are expected at"
                    " most. Ask whether the API still records events."
                )
        return metadata, " ".join(wrong) or None

    future = f"No `{resource.cursor}` of a live row is in the future (by more than {CLOCK_SKEW.seconds // 60} minutes)"
    if window:
        age = (
            f", and the newest is not older than {describe_duration(window)}, the fail window of the asset's freshness"
            " policy."
        )
    else:
        age = ". The age of the newest has no limit, because people seldom edit these rows; `age_hours` shows it."
    contrast = " A materialization shows when the API was last asked; this check shows how old its rows are."
    return Check("cursor_freshness", WARN, future + age + contrast, judge)


def _rows_without_cursor(resource: Resource) -> Check:
    def judge(profile: TableProfile) -> Outcome:
        count, rows = profile.rows_without_cursor, profile.live_rows
        share = count / rows if rows else 0.0
        wrong = share > MOST_WITHOUT_CURSOR
        return (
            {"rows_without_cursor": count, "live_rows": rows, "share": round(share, 4)},
            f"{count} of {rows} rows have no `{resource.cursor}`. Look whether the API has renamed the field."
            if wrong
            else None,
        )

    description = (
        f"At most {MOST_WITHOUT_CURSOR:.0%} of the live rows have no `{resource.cursor}`. Rows without it are loaded as"
        " well, but every sync has to compare them to find out whether they changed."
    )
    return Check("rows_without_cursor", WARN, description, judge)


def _reference_exists(resource: Resource, field: str, parent: Resource, names: Names) -> Check:
    column = column_name(field)

    def judge(profile: TableProfile) -> Outcome:
        if not profile.has_table:
            return {}, None
        dangling = profile.dangling[field]
        if dangling is None:
            return {}, no_table(names.table(parent))
        ids = ", ".join(map(str, dangling.ids))
        more = ", ..." if dangling.rows > len(dangling.ids) else ""
        wrong = f"{dangling.rows} rows refer to no live row of {parent.name} ({_key_label(resource)} {ids}{more})."
        metadata = {"rows": dangling.rows, "live_rows": profile.live_rows, "ids": dangling.ids}
        return metadata, wrong if dangling.rows else None

    description = (
        f"The `{column}` of every live row is the {_key_label(parent)} of a live row of {parent.name}. The check"
        f" names up to {SHOWN_IDS} rows that refer to none."
    )
    return Check(f"{column.removesuffix('_id')}_exists", WARN, description, judge, (parent.name,))
