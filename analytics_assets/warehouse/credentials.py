"""Connection strings: what is wrong with one, and what of a configuration is secret."""

import re

from dlt.common.configuration.specs import BaseConfiguration, ConnectionStringCredentials
from dlt.common.configuration.specs.base_configuration import is_secret_hint
from dlt.common.typing import is_optional_type

from analytics_assets.warehouse.errors import DestinationError

POSTGRES_SCHEMES = frozenset({"postgresql", "postgres"})


def secrets_of(config: object) -> list[str]:
    """The values of a resolved configuration that dlt takes for secrets, those of its credentials included."""
    if not isinstance(config, BaseConfiguration):
        return []
    found = []
    for name, hint in config.get_resolvable_fields().items():
        value = config[name]
        found += secrets_of(value)
        if is_secret_hint(hint) and isinstance(value, str | int):
            found.append(str(value))
    # Such as sslpassword.
    query = config.get("query") if isinstance(config, ConnectionStringCredentials) else None
    return [
        *found,
        *(str(value) for name, value in (query or {}).items() if re.search("pass|token|secret", name, re.IGNORECASE)),
    ]


def check_dsn(type_: str, credentials: object) -> None:
    """Refuses a connection string that a driver would misread, as drivers quote it in their errors.

    Raises:
        DestinationError: It lacks something, has another scheme, or characters in it are not escaped.
    """
    if not isinstance(credentials, ConnectionStringCredentials):
        return
    fields = credentials.get_resolvable_fields()
    missing = [name for name, hint in fields.items() if credentials[name] is None and not is_optional_type(hint)]
    if "drivername" in missing or {"host", "username", "password"} <= set(missing):
        raise dsn_error(type_, "is missing")
    if credentials.database == ":memory:":
        raise dsn_error(type_, "is no file: tables and cursors would be gone after the run")
    if "@" in (credentials.host or ""):
        raise dsn_error(type_, "has an @ in the user's name or password, which has to be written as %40")
    if missing:
        raise dsn_error(type_, f"has no {' and no '.join(missing)}")
    if type_ == "postgres" and credentials.drivername not in POSTGRES_SCHEMES:
        raise dsn_error(type_, f"begins with {credentials.drivername}://, which is not the database's own scheme")


def dsn_error(type_: str, problem: str) -> DestinationError:
    """The error that says what is wrong with a connection string, which it does not show, and how one is written."""
    scheme = "postgresql" if type_ == "postgres" else type_
    sample = "sqlite:////path/to/file.db" if type_ == "sqlalchemy" else f"{scheme}://user:password@host:5432/database"
    return DestinationError(
        f"destination.{type_}.credentials {problem}. It is not shown here. Write it like {sample}, with what is special"
        f" in a URL escaped, in .dlt/secrets.toml or as DESTINATION__{type_.upper()}__CREDENTIALS in the environment."
    )
