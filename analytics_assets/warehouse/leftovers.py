"""What is left in the warehouse of resources that the catalog no longer lists, because they were removed or renamed."""

from collections.abc import Sequence

from analytics_assets.api.connector import SHIPPED, Connector
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.owner import other_owner, schema_names, stored_tables
from analytics_assets.warehouse.sql import first_row


def find_leftovers(client: Client, connector: Connector) -> list[str]:
    """Names of the resources that were loaded into the dataset, and that the connector lacks. The client is connected.

    dlt's schema tells: it is stored before the table is made, and has the name of the pipeline.
    """
    prefix = _schema_name(connector, "")
    unknown = schema_names(client) - {f"{prefix}{name}" for name in (*connector.by_name, *connector.left_out)}
    names = sorted(name.removeprefix(prefix) for name in unknown if name.startswith(prefix))
    return [name for name in names if _is_own(client, connector, name)]


def _schema_name(connector: Connector, name: str) -> str:
    """Name of a leftover's schema and pipeline."""
    return f"{connector.name}_{name}"


def _is_own(client: Client, connector: Connector, name: str) -> bool:
    """Whether a schema is of this connector: `crm_eu_users` may be of another, which is called `crm_eu`."""
    return name in stored_tables(client, _schema_name(connector, name))


def describe_leftovers(connector: Connector, names: Sequence[str]) -> str:
    """A sentence that names the leftovers and what drops them."""
    name, them = (names[0], "it") if len(names) == 1 else ("<name>", "them")
    # The command is for the connector that the project ships.
    command, function = f"python -m analytics_assets drop {name}", f"{__name__}.{drop_leftover.__name__}"
    drop = command if connector.name == SHIPPED.name else function
    # A table may belong to another connector by now, so the sentence does not say that there is one.
    return (
        f"The warehouse still has something of {', '.join(names)}, and the catalog no longer lists {them}."
        f" `{drop}` drops what is left"
    )


def count_leftover(client: Client, name: str) -> int | None:
    """Number of rows that a leftover has; `None` if it has no table."""
    if not client.has_table(name):
        return None
    [count] = first_row(client, f"SELECT count(*) FROM {client.sql_client.make_qualified_table_name(name)}")
    return int(count)


def find_heir(client: Client, connector: Connector, name: str) -> str | None:
    """Another schema that has a leftover's table, such as that of the connector that loads it now; `None` without."""
    return other_owner(client, _schema_name(connector, name), name)


def drop_leftover(client: Client, connector: Connector, name: str) -> None:
    """Drops a leftover: its table, its staging table, and what dlt keeps of it (schema, loads, state).

    The tables stay if they have an heir.

    Raises:
        ValueError: The connector has a resource of this name, or has left it out.
    """
    if name in connector.by_name or name in connector.left_out:
        raise ValueError(f"{name} is a resource of {connector.name}, and nothing that is left over: take it out first")
    client.forget(() if find_heir(client, connector, name) else (name,), _schema_name(connector, name))
