"""The sensor that looks after runs, as the daemon has it tick, and waiting for what it does."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.remote_origin import RegisteredCodeLocationOrigin

from analytics_assets.definitions import defs
from analytics_assets.defs.automation.signs_of_life import SENSOR

HERE = "analytics_assets"


def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.02)


@dataclass
class Watch:
    """The sensor, as the daemon has it tick in the code location `analytics_assets`."""

    instance: dg.DagsterInstance
    sensor: dg.SensorDefinition = field(default_factory=lambda: defs().resolve_sensor_def(SENSOR))
    cursor: str | None = None

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            with dg.SensorEvaluationContext(
                None,
                instance=self.instance,
                cursor=self.cursor,
                sensor_name=SENSOR,
                code_location_origin=RegisteredCodeLocationOrigin(HERE),
            ) as context:
                self.cursor = self.sensor.evaluate_tick(context).cursor


def look_up(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run
