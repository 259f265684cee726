"""What Dagster shows of the assets: keys, texts, schemas, and the endpoints they come from."""

import linecache
import warnings
from functools import cache

import dagster as dg

from analytics_assets.api import catalog
from analytics_assets.api.catalog import DOCS_URL, PRIMARY_KEY, RESOURCES, Column, Resource
from analytics_assets.api.settings import configured_endpoint
from analytics_assets.api.values.columns import column_name
from analytics_assets.warehouse.target import DATASET

GROUP = "analytics_api"

OP_NAME = "analytics_api"

UPSTREAM_GROUP = "api"

OWNER = "team:data-platform"

POOL = "analytics_warehouse"


def asset_key(resource_name: str) -> dg.AssetKey:
    """The key of a resource's asset."""
    return dg.AssetKey(["analytics", resource_name])


def upstream_key(resource_name: str) -> dg.AssetKey:
    """The key of the external asset that stands for a resource's endpoint."""
    return dg.AssetKey(["api", resource_name])


def table_name(resource: Resource) -> str:
    """The resource's table, with its dataset."""
    return f"{DATASET}.{resource.name}"


def upstream_specs() -> list[dg.AssetSpec]:
    """The endpoints, as external assets."""
    return [
        dg.AssetSpec(
            upstream_key(resource.name),
            group_name=UPSTREAM_GROUP,
            description=f"`{endpoint}` of the API. {resource.description} [Documentation]({DOCS_URL})",
            kinds={"api"},
            owners=[OWNER],
            metadata={
                "docs": docs_link(),
                "dagster/column_schema": api_schema(resource),
                "dagster/code_references": code_reference(resource),
                "path": endpoint.path,
                "paging": endpoint.pagination_is,
                "rows": endpoint.rows_are,
            },
        )
        for resource in RESOURCES
        for endpoint in (configured_endpoint(resource.name),)
    ]


def describe(resource: Resource) -> str:
    """The description of an asset, in Markdown."""
    endpoint = configured_endpoint(resource.name)
    lines = [
        resource.description,
        "",
        f"- **Endpoint**: `{endpoint}`, rows: {endpoint.rows_are}",
        f"- **Paging**: {endpoint.pagination_is}",
        f"- **Incremental**: {_incremental(resource)}",
        f"- **Deleted upstream**: {_deletions(resource)}",
        f"- **Table**: `{table_name(resource)}`, merged on `{PRIMARY_KEY}`; nested values are JSON",
        *_sensitive(resource),
        *(f"- **Limit**: {limit}" for limit in resource.limits),
        "",
        f"[Documentation of the API]({DOCS_URL})",
    ]
    return "\n".join(lines)


def docs_link() -> dg.UrlMetadataValue:
    """Where the API is documented."""
    return dg.MetadataValue.url(DOCS_URL)


def tags(resource: Resource) -> dict[str, str]:
    """Tags to select assets by, such as `tag:sync=incremental`."""
    return {
        "sync": "complete" if resource.cursor is None else "incremental",
        "rows": "events" if resource.append_only else "objects",
    }


def table_schema(resource: Resource) -> dg.TableSchema:
    """The columns of the table, as declared."""
    return dg.TableSchema([_table_column(column, column_name(column.name)) for column in resource.table_columns])


def api_schema(resource: Resource) -> dg.TableSchema:
    """The fields of the endpoint's rows, in the API's spelling."""
    return dg.TableSchema([_table_column(column, column.name) for column in resource.columns])


def column_lineage(resource: Resource) -> dg.TableColumnLineage:
    """Which field of the API each column comes from. The mark of deleted rows and dlt's own columns have none."""
    upstream = upstream_key(resource.name)
    return dg.TableColumnLineage(
        {column_name(column.name): [dg.TableColumnDep(upstream, column.name)] for column in resource.columns}
    )


def _table_column(column: Column, name: str) -> dg.TableColumn:
    is_key = column.name == PRIMARY_KEY
    other = ["primary key"] if is_key else []
    if column.references:
        other.append(f"references {column.references}.{PRIMARY_KEY}")
    return dg.TableColumn(
        name,
        column.type,
        column.description,
        dg.TableColumnConstraints(nullable=column.nullable, unique=is_key, other=other),
    )


@cache
def code_reference(resource: Resource) -> dg.CodeReferencesMetadataValue:
    """Where the catalogue declares the resource."""
    path = catalog.__file__
    needle = f'name="{resource.name}",'
    line = next((number for number, text in enumerate(linecache.getlines(path), 1) if text.strip() == needle), 1)
    return file_reference(path, line, "Catalogue entry")


def file_reference(path: str, line: int, label: str) -> dg.CodeReferencesMetadataValue:
    """A line of a file of the project, for the link in the UI."""
    with warnings.catch_warnings():
        # Code references have been in beta since Dagster 1.8, and each use says so.
        warnings.simplefilter("ignore", dg.BetaWarning)
        reference = dg.LocalFileCodeReference(file_path=path, line_number=line, label=label)
        return dg.CodeReferencesMetadataValue(code_references=[reference])


def _incremental(resource: Resource) -> str:
    if resource.cursor is None:
        return "no, every sync reads the complete listing"
    return (
        f"by `{resource.cursor}`, starting {resource.lag_seconds} s behind the newest value for rows that appear late."
        " Where the API can filter by it, or lists the newest first, a sync reads what is new; else it reads everything"
        " and loads what is new: `reads` of a materialization says which"
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
