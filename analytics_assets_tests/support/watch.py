"""Sensors as the daemon has them tick."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.remote_origin import RegisteredCodeLocationOrigin

from analytics_assets_tests.support.eight import NAMES, defs

HERE = "analytics_assets"

SENSOR = NAMES.derived("signs_of_life")


@dataclass
class Watch:
    """A sensor in the code location `analytics_assets`: by default the one that declares runs dead."""

    instance: dg.DagsterInstance
    sensor: dg.SensorDefinition = field(default_factory=lambda: defs().resolve_sensor_def(SENSOR))
    cursor: str | None = None
    requests: Sequence[dg.RunRequest] = ()
    """What the last tick asked Dagster to run."""

    def tick(self, times: int = 1) -> str:
        """Ticks, and returns why the last tick launched nothing. The cursor stays if a tick fails, as in the daemon."""
        reason = ""
        for _ in range(times):
            with dg.SensorEvaluationContext(
                None,
                instance=self.instance,
                cursor=self.cursor,
                sensor_name=self.sensor.name,
                code_location_origin=RegisteredCodeLocationOrigin(HERE),
            ) as context:
                result = self.sensor.evaluate_tick(context)
                self.cursor, reason = result.cursor, result.skip_message or ""
                self.requests = result.run_requests or ()
        return reason


def look_up(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def pid_of(instance: dg.DagsterInstance, run_id: str) -> int:
    """The id of the process that executes a run."""
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    [pid] = {int(pid) for event in events for pid in re.findall(r"\(pid: (\d+)\)", event.message)}
    return pid
