"""Checks connection strings, and finds the secrets in a destination's configuration."""

import re
from pathlib import Path

from dlt.common.configuration.specs import BaseConfiguration, ConnectionStringCredentials
from dlt.common.configuration.specs.base_configuration import is_secret_hint
from dlt.common.typing import is_optional_type

from analytics_assets.warehouse.errors import DestinationError

LIBPQ = frozenset({"postgres", "redshift"})
"""Destinations whose driver is that of Postgres, which knows no other scheme."""

SAMPLES = {
    "sqlalchemy": "sqlite:////path/to/file.db or mysql+pymysql://user:password@host:3306/database",
    "postgres": "postgresql://user:password@host:5432/database",
    "redshift": "postgresql://user:password@host:5439/database",
    "snowflake": "snowflake://user:password@account/database?warehouse=name&role=name",
    "clickhouse": "clickhouse://user:password@host:9440/database",
    "mssql": "mssql://user:password@host:1433/database",
    "synapse": "synapse://user:password@host/database",
    "dremio": "grpc://user:password@host:32010/source",
    "motherduck": "md:///database?token=...",
}
"""Connection strings as dlt takes them."""

POSTGRES_SCHEMES = frozenset({"postgresql", "postgres"})


def secrets_of(config: object) -> list[str]:
    """The values of a resolved configuration that dlt marks as secret, those of its credentials included.

    Passwords and tokens in the query of a connection string are found by their names.
    """
    if not isinstance(config, BaseConfiguration):
        return []
    found = []
    for name, hint in config.get_resolvable_fields().items():
        value = config[name]
        found += secrets_of(value)
        if is_secret_hint(hint) and isinstance(value, str | int):
            found.append(str(value))
    # dlt does not mark parameters such as sslpassword.
    query = config.get("query") if isinstance(config, ConnectionStringCredentials) else None
    return [
        *found,
        *(str(value) for name, value in (query or {}).items() if re.search("pass|token|secret", name, re.IGNORECASE)),
    ]


def check_dsn(type_: str, credentials: object) -> None:
    """Refuses a connection string that a driver would misread, because drivers quote parts of it in their errors.

    Raises:
        DestinationError: The string lacks a part, has a wrong scheme, or has characters that are not escaped.
    """
    if not isinstance(credentials, ConnectionStringCredentials):
        return
    fields = credentials.get_resolvable_fields()
    missing = [name for name, hint in fields.items() if credentials[name] is None and not is_optional_type(hint)]
    if "drivername" in missing or {"host", "username", "password"} <= set(missing):
        raise dsn_error(type_, "is missing")
    if credentials.database == ":memory:":
        raise dsn_error(type_, "is no file: tables and cursors would be gone after the run")
    if (credentials.drivername or "").startswith("sqlite") and not Path(credentials.database or "").is_absolute():
        raise dsn_error(type_, "has no absolute path, and runs may have other current directories")
    if "@" in (credentials.host or ""):
        raise dsn_error(type_, "has an @ in the user's name or password, which has to be written as %40")
    if missing:
        raise dsn_error(type_, f"has no {' and no '.join(missing)}")
    if type_ in LIBPQ and credentials.drivername not in POSTGRES_SCHEMES:
        raise dsn_error(type_, f"begins with {credentials.drivername}://, which is not the database's own scheme")


def dsn_error(type_: str, problem: str) -> DestinationError:
    """The error for a connection string. It says what is wrong and shows a correct example, never the string itself."""
    sample = SAMPLES.get(type_, f"{type_}://user:password@host:5432/database")
    return DestinationError(
        f"destination.{type_}.credentials {problem}. It is not shown here, because it is a secret. Write it like"
        f" {sample}, with special characters percent-encoded, in .dlt/secrets.toml or as"
        f" DESTINATION__{type_.upper()}__CREDENTIALS in the environment."
    )
