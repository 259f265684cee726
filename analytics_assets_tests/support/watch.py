"""The sensor that looks after runs, as the daemon has it tick, and waiting for what it does."""

from dataclasses import dataclass, field

import dagster as dg
from dagster._core.remote_origin import RegisteredCodeLocationOrigin

from analytics_assets_tests.support.eight import NAMES, defs

HERE = "analytics_assets"

SENSOR = NAMES.derived("signs_of_life")


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
