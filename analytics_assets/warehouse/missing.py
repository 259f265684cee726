"""Says what a destination lacks on this machine: packages, or configuration."""

import re
from importlib.metadata import metadata

from dlt.common.configuration.exceptions import ConfigFieldMissingException
from dlt.common.exceptions import MissingDependencyException, SystemConfigurationException

from analytics_assets.warehouse.errors import DestinationError

DRIVERS = {"MySQLdb": "mysqlclient", "cx_Oracle": "cx-oracle", "psycopg2": "psycopg2-binary"}
"""Packages that have another name than their module."""

SHOWN_KEYS = 8
"""Most keys that are named."""


def describe_missing(type_: str, error: BaseException) -> DestinationError | None:
    """What is missing, if an error says so, with what to do about it.

    Args:
        type_: dlt's name of the destination.
        error: Raised by dlt or SQLAlchemy before the destination was connected to.
    """
    if isinstance(error, ConfigFieldMissingException):
        # dlt lists for each key all places where it has looked, in 600 characters and more.
        keys = list(dict.fromkeys(re.findall(rf"\b(?<!_)DESTINATION__{type_.upper()}__\w+", str(error))))
        return DestinationError(
            f"destination_type = {type_!r} is not configured. Set {', '.join(keys[:SHOWN_KEYS])} in the environment, or"
            f" the same keys under [destination.{type_}] in .dlt/secrets.toml, as"
            f" https://dlthub.com/docs/dlt-ecosystem/destinations/{type_} says."
        )
    if isinstance(error, ImportError):
        return DestinationError(
            f"destination_type = {type_!r} needs what is not installed: {first_line(error)}. Install it:"
            f" {_command(type_, error)}"
        )
    # dlt's error of an ODBC driver that is not there.
    if isinstance(error, SystemConfigurationException):
        return DestinationError(f"destination_type = {type_!r} needs what is not installed: {first_line(error)}")
    # SQLAlchemy's error of a dialect that no installed package has.
    if type(error).__name__ == "NoSuchModuleError":
        return DestinationError(
            f"destination.{type_}.credentials needs what is not installed: {first_line(error)}. Install the package"
            " that has this dialect of SQLAlchemy: https://docs.sqlalchemy.org/en/20/dialects/ names it."
        )
    return None


def _command(type_: str, error: ImportError) -> str:
    """The command that installs what an import lacks."""
    if isinstance(error, MissingDependencyException):
        return f'uv pip install "{error.dependencies[0]}"'
    module = (error.name or "").partition(".")[0]
    if type_ == "sqlalchemy" and module == "MySQLdb":
        return "uv pip install pymysql, and begin the connection string with mysql+pymysql://"
    if type_ == "sqlalchemy" and module and module != "sqlalchemy":
        return f"uv pip install {DRIVERS.get(module, module)}"
    if "libodbc" in str(error):
        return "apt-get install unixodbc, and Microsoft's driver msodbcsql18"
    extras = metadata("dlt").get_all("Provides-Extra") or []
    return f'uv pip install "dlt[{type_}]"' if type_ in extras else f"uv pip install {DRIVERS.get(module, module)}"


def first_line(error: BaseException) -> str:
    """The first line of an error, without the full stop at its end."""
    return str(error).strip().partition("\n")[0].rstrip(".")
