"""The project as its user has it, and what its runs say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from analytics_assets.api.catalog import Resource
from analytics_assets.defs.names import Names
from analytics_assets.defs.reports.assets import Report
from analytics_assets_tests.support.eight import NAMES, asset_key, defs, with_changed
from analytics_assets_tests.support.reports import REPORTS


@dataclass
class Project:
    """The project as its user has it: runs through Dagster, and a DuckDB file to look into."""

    instance: dg.DagsterInstance
    database: Path
    names: Names = NAMES
    reports: tuple[Report, ...] = REPORTS

    @property
    def definitions(self) -> dg.Definitions:
        return defs(self.names, self.reports)

    def run(
        self,
        *resources: str,
        job: str = "analytics_sync",
        config: Mapping[str, Any] | None = None,
        run_config: dict[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Runs a job, for these resources only if any are named. Does not raise if the run fails.

        `config` is that of the asset op; `run_config` is for all else.
        """
        if config:
            run_config = {"ops": {"analytics_api": {"config": dict(config)}}}
        selection = [self.names.asset_key(name) for name in resources] or None
        definition = self.definitions.resolve_job_def(job)
        return definition.execute_in_process(
            run_config=run_config, asset_selection=selection, instance=self.instance, raise_on_error=False
        )

    def sync(self, *resources: str, **options: Any) -> dg.ExecuteInProcessResult:
        """A run that has to succeed."""
        result = self.run(*resources, **options)
        assert result.success, failure_message(result)
        return result

    def declare(self, *resources: Resource) -> None:
        """From now on the catalog has these entries in place of those of the same name."""
        self.names = with_changed(*resources)

    def log(self, result: dg.ExecuteInProcessResult) -> str:
        """All that a run has logged, its events included."""
        return "\n".join(map(str, self.instance.all_logs(result.run_id)))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.database)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(sql).fetchall()

    def ids(self, resource: str, where: str = "true") -> list[Any]:
        return [row[0] for row in self.query(f"SELECT id FROM analytics.{resource} WHERE {where} ORDER BY id")]


def metadata(result: dg.ExecuteInProcessResult, resource: str) -> dict[str, Any]:
    """What the run's materialization of a resource says of itself."""
    [event] = [event for event in result.get_asset_materialization_events() if event.asset_key == asset_key(resource)]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def materialized(result: dg.ExecuteInProcessResult) -> list[str]:
    return [event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key]


def failure_message(result: dg.ExecuteInProcessResult) -> str:
    """What the person who opens the failed run reads first."""
    texts = []
    for event in result.all_events:
        if event.is_step_failure and "Dependencies for step" not in str(event.message):
            data = event.step_failure_data
            texts.append(data.user_failure_data.description if data.user_failure_data else data.error)
    return "\n".join(map(str, texts))


def resource_config(**fields: Any) -> dict[str, Any]:
    """Run config that sets fields of the resource `analytics`."""
    return {"resources": {"analytics": {"config": fields}}}
