"""What Dagster shows of an asset: its key, description, schema, lineage, and the endpoint it comes from."""

import linecache
import warnings
from dataclasses import replace
from functools import cache
from hashlib import sha256
from typing import Any

import dagster as dg

from analytics_assets.api import catalog
from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.connector import Connector
from analytics_assets.api.settings import configured_endpoint
from analytics_assets.api.values.columns import column_name, key_columns
from analytics_assets.defs.names import Names
from analytics_assets.warehouse.target import destination_type

UNDECLARED = "undeclared_columns"
"""Name of a check, and of the metadata of a materialization that lists columns which the catalog does not know."""

LONGEST_FIELD = 1_000
"""Most characters of a field's name that are shown."""


def upstream_specs(names: Names) -> list[dg.AssetSpec]:
    """The endpoints, as external assets."""
    return [
        dg.AssetSpec(
            names.upstream_key(resource.name),
            group_name=names.upstream_group,
            # The catalog shows the beginning of it as plain text.
            description="\n\n".join([f"{resource.description} {endpoint} of the API.", *_docs(names, "Documentation")]),
            kinds={"api"},
            owners=[names.owner],
            metadata={
                **docs_link(names.connector),
                "dagster/column_schema": api_schema(names.connector, resource),
                **code_reference(resource),
                "path": endpoint.path,
                "pagination": endpoint.pagination_is,
                "rows": endpoint.rows_are,
            },
        )
        for resource in names.connector.resources
        for endpoint in (configured_endpoint(names.connector, resource.name),)
    ]


def spec_attributes(names: Names, resource: Resource, cron: str, configuration: str) -> dict[str, Any]:
    """The attributes of an asset's spec that follow from the catalog.

    Args:
        names: Names of the connector.
        resource: What the asset holds.
        cron: When the asset is synced.
        configuration: The configured settings, in Markdown.
    """
    destination = destination_type()
    return {
        "key": names.asset_key(resource.name),
        "deps": [names.upstream_key(resource.name)],
        "group_name": names.group,
        "description": describe(names, resource, cron),
        "kinds": {"dlt", destination},
        "owners": [names.owner],
        "tags": tags(resource),
        "code_version": code_version(resource),
        "metadata": {
            "configuration": dg.MetadataValue.md(f"When the definitions were loaded:\n\n{configuration}"),
            "dagster/table_name": names.table(resource),
            "dagster/column_schema": table_schema(names.connector, resource),
            "dagster/column_lineage": column_lineage(names, resource),
            **code_reference(resource),
            "dagster/storage_kind": destination,
            **docs_link(names.connector),
        },
    }


def code_version(resource: Resource) -> str:
    """A text that changes with the declaration of a resource, but not with its descriptions."""
    columns = tuple(replace(column, description="") for column in resource.columns)
    declared = replace(resource, description="", limits=(), columns=columns)
    return sha256(repr(declared).encode()).hexdigest()[:12]


def describe(names: Names, resource: Resource, cron: str) -> str:
    """The description of an asset that is synced by `cron`, in Markdown.

    Its first paragraph is plain text, because the UI shows the beginning of it as it is.
    """
    endpoint = configured_endpoint(names.connector, resource.name)
    key = ", ".join(f"`{name}`" for name in key_columns(resource))
    lines = [
        f"{resource.description} Loaded from {endpoint} of the API into the table {names.table(resource)}.",
        "",
        f"- **Rows**: {endpoint.rows_are}",
        f"- **Pagination**: {endpoint.pagination_is}",
        f"- **Incremental**: {_incremental(resource)}",
        f"- **Schedule**: `{cron}`, once its schedule is on",
        f"- **Deleted upstream**: {_deletions(resource)}",
        f"- **Table**: merged on {key}; nested values are JSON",
        *_sensitive(resource),
        *(f"- **Limit**: {limit}" for limit in resource.limits),
        "",
        *_docs(names, "Documentation of the API"),
    ]
    return "\n".join(lines).strip()


def docs_link(connector: Connector) -> dict[str, dg.UrlMetadataValue]:
    """Metadata that links to the documentation of the API, if the connector has it."""
    return {"docs": dg.MetadataValue.url(connector.docs_url)} if connector.docs_url else {}


def _docs(names: Names, text: str) -> list[str]:
    return [f"[{text}]({names.connector.docs_url})"] if names.connector.docs_url else []


def tags(resource: Resource) -> dict[str, str]:
    """Tags to select assets by, such as `tag:sync=incremental`."""
    return {
        "sync": "complete" if resource.cursor is None else "incremental",
        "rows": "events" if resource.append_only else "objects",
    }


def table_schema(connector: Connector, resource: Resource) -> dg.TableSchema:
    """The declared columns of the table, by their names in the warehouse.

    A description says the field of the API if its name is another: the open-source UI has no page for column lineage.
    """
    return dg.TableSchema(
        [
            _table_column(connector, resource, column, name, "" if name == column.name else f" (API: {column.name})")
            for column in resource.table_columns
            for name in (column_name(column.name),)
        ]
    )


def api_schema(connector: Connector, resource: Resource) -> dg.TableSchema:
    """The declared fields of the endpoint's rows, by their names in the API."""
    return dg.TableSchema([_table_column(connector, resource, column, column.name) for column in resource.columns])


def column_lineage(names: Names, resource: Resource) -> dg.TableColumnLineage:
    """Which field of the API each column comes from. `deleted_at`, `_rescued_data` and dlt's own columns have none."""
    upstream = names.upstream_key(resource.name)
    return dg.TableColumnLineage(
        {column_name(column.name): [dg.TableColumnDep(upstream, column.name)] for column in resource.columns}
    )


def _table_column(
    connector: Connector, resource: Resource, column: Column, name: str, origin: str = ""
) -> dg.TableColumn:
    is_key = column.name in resource.key_names
    other = ["primary key"] if is_key else []
    if column.references:
        other.append(f"references {column.references}.{key_columns(connector.by_name[column.references])[0]}")
    return dg.TableColumn(
        name,
        column.type,
        f"{column.description}{origin}",
        dg.TableColumnConstraints(
            nullable=column.nullable, unique=is_key and len(resource.key_names) == 1, other=other
        ),
    )


@cache
def code_reference(resource: Resource) -> dict[str, dg.CodeReferencesMetadataValue]:
    """Metadata that links to the line of `api/catalog.py` that declares the resource, if it is declared there."""
    path = catalog.__file__
    needle = f'name="{resource.name}",'
    lines = (number for number, text in enumerate(linecache.getlines(path), 1) if text.strip() == needle)
    # What the configuration changes is declared there, too.
    declared = any((each.name, each.description) == (resource.name, resource.description) for each in catalog.RESOURCES)
    if not declared or (line := next(lines, None)) is None:
        return {}
    return {"dagster/code_references": file_reference(path, line, "Catalog entry")}


def file_reference(path: str, line: int, label: str) -> dg.CodeReferencesMetadataValue:
    """A link in the UI to a line of one of the project's files."""
    with warnings.catch_warnings():
        # Code references are in beta since Dagster 1.8, and Dagster warns at each use.
        warnings.simplefilter("ignore", dg.BetaWarning)
        reference = dg.LocalFileCodeReference(file_path=path, line_number=line, label=label)
        return dg.CodeReferencesMetadataValue(code_references=[reference])


def _incremental(resource: Resource) -> str:
    if resource.cursor is None:
        return "no, every sync reads the complete listing, and loads all of it if anything in it has changed"
    return (
        f"by `{resource.cursor}`. A sync starts {resource.lag_seconds} s (or the setting `lag_seconds`) behind its"
        " newest value, because rows may appear late. If the API can filter by the field, or lists rows in its order,"
        " a sync reads new rows only; otherwise it reads everything and loads new rows. The metadata `reads` of a"
        " materialization says which"
    )


def _sensitive(resource: Resource) -> list[str]:
    return [
        f"- **{word}**: {', '.join(f'`{path}`' for path in paths)}"
        for word, paths in (("Hashed before it is loaded", resource.hashed), ("Never loaded", resource.dropped))
        if paths
    ]


def _deletions(resource: Resource) -> str:
    if resource.append_only:
        return "never marked; events stay"
    if resource.cursor is None:
        return "marked in `deleted_at` by every sync"
    return "marked in `deleted_at` by the weekly reconcile"
