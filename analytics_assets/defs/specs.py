"""What Dagster shows of the assets: keys, texts, schemas, and the endpoints they come from."""

import linecache
import warnings
from functools import cache

import dagster as dg

from analytics_assets.api import catalog
from analytics_assets.api.catalog import PRIMARY_KEY, RESOURCES, Resource
from analytics_assets.api.settings import configured_endpoint
from analytics_assets.api.source import column_name
from analytics_assets.warehouse.destination import DATASET

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
            description=f"`{endpoint}` of the API. {resource.description}",
            kinds={"api"},
            owners=[OWNER],
            metadata={
                "path": endpoint.path,
                "paging": endpoint.paging_is,
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
        f"- **Paging**: {endpoint.paging_is}",
        f"- **Incremental**: {_incremental(resource)}",
        f"- **Deleted upstream**: {_deletions(resource)}",
        f"- **Table**: `{table_name(resource)}`, merged on `{PRIMARY_KEY}`; nested values are JSON",
    ]
    return "\n".join(lines)


def table_schema(resource: Resource) -> dg.TableSchema:
    """The columns of the table, as declared."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column_name(column.name),
                type=column.type,
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable,
                    unique=column.name == PRIMARY_KEY,
                    other=["primary key"] if column.name == PRIMARY_KEY else [],
                ),
            )
            for column in resource.table_columns
        ]
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


def _deletions(resource: Resource) -> str:
    if resource.append_only:
        return "never marked; events stay"
    if resource.cursor is None:
        return "marked in `deleted_at` by every sync"
    hint = " (edits arrive then, too: an edit does not move `created`)" if resource.cursor == "created" else ""
    return f"marked in `deleted_at` by the weekly reconcile{hint}"
