"""The Dagster instance of `dagster.yaml`. With SQLite, its event log does not connect anew for each statement.

Dagster's own log makes an engine for each statement, which has to be compiled again, and closes the only connection to
a file each time, which makes SQLite move its journal into the file. A sync stores 183 events, and one of a check takes
four connections: docs/decisions/dagster-overhead.md says what that costs.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Self

import dagster as dg
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine

INDEX = "index"
"""Name of the file that has the events of assets and checks of all runs."""

RUNS_AT_ONCE = 16
"""Runs whose engines are kept. An engine of a run holds no file open."""


class EventLog(SqliteEventLogStorage):
    """Dagster's event log in SQLite, with engines that are kept, and a connection to the index that stays open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._turn = Lock()
        self._run_engine = lru_cache(RUNS_AT_ONCE)(self._make_engine)
        self._index_engine = lru_cache(1)(self._make_engine)
        self._found: set[str] = set()
        self._file: tuple[int, int] | None = None
        super().__init__(base_dir, inst_data)

    @contextmanager
    def run_connection(self, run_id: str | None = None) -> Iterator[Connection]:
        """Connects to the file of a run, and closes it: the UI waits for the file itself to change, not its journal."""
        with self._turn, self._run_engine(str(run_id)).begin() as connection:
            yield connection

    @contextmanager
    def index_connection(self) -> Iterator[Connection]:
        """The connection to the index, or a new one if somebody has put another file in its place, such as a backup."""
        with self._turn:
            engine, file = self._index_engine(INDEX), _identify(Path(self.path_for_shard(INDEX)))
            if file != self._file:
                engine.dispose()
                self._file = file
            with engine.begin() as connection:
                yield connection

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table. Dagster asks for each event of a check."""
        return self._find(table_name, super().has_table)

    def has_asset_key_col(self, column_name: str) -> bool:
        """Whether the table of assets has a column. Dagster asks for each event of an asset."""
        return self._find(column_name, super().has_asset_key_col)

    def wipe(self) -> None:
        """Removes all events. The file of a run that goes on is made anew, with its tables."""
        super().wipe()
        self._run_engine.cache_clear()

    def dispose(self) -> None:
        """Closes the connection to the index."""
        super().dispose()
        self._index_engine(INDEX).dispose()

    def _make_engine(self, shard: str) -> Engine:
        # Dagster makes the tables of a file when it first connects to it.
        with super().run_connection(shard):
            pass
        pool = QueuePool if shard == INDEX else NullPool
        return create_engine(self.conn_string_for_shard(shard), poolclass=pool)

    def _find(self, name: str, find: Callable[[str], bool]) -> bool:
        # What is there stays; what is not may come with a migration.
        if name not in self._found and find(name):
            self._found.add(name)
        return name in self._found


def _identify(path: Path) -> tuple[int, int] | None:
    """What tells a file from another of the same name; `None` if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class History(DagsterSqliteStorage):
    """Dagster's storage in SQLite, in the same files, with the event log above."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = EventLog(str(Path(base_dir, "history", "runs")))

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:  # noqa: ANN401
        """Opens the storage that the instance names."""
        return cls.from_local(inst_data=inst_data, **config_value)


class Instance(dg.DagsterInstance):
    """Dagster's instance, with `History` as its default storage. A `storage` in `dagster.yaml` wins."""

    @staticmethod
    def config_schema() -> Mapping[str, Any]:
        """Fields of `dagster.yaml` that Dagster does not know: none."""
        return {}

    @staticmethod
    def config_defaults(base_dir: str) -> Mapping[str, ConfigurableClassData | None]:
        """What the instance is made of where `dagster.yaml` says nothing."""
        history = ConfigurableClassData(__name__, History.__name__, yaml.dump({"base_dir": base_dir}))
        return {**InstanceRef.config_defaults(base_dir), "storage": history}
