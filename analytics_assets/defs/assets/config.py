"""What a run of the assets can be told in the launchpad."""

from enum import Enum

import dagster as dg
from pydantic import Field

from analytics_assets.api.reading import Reading
from analytics_assets.api.settings_reader import DATES, read_date


class Mode(Enum):
    """How much a run reads, and what becomes of the tables."""

    incremental = "incremental"
    full = "full"
    rebuild = "rebuild"


class RunConfigError(ValueError):
    """A combination of run config that makes no sense."""


class SyncConfig(dg.Config):
    """Run config of the op `analytics_api`."""

    mode: Mode = Field(
        default=Mode.incremental,
        description=(
            "incremental: load what is new since the cursor. full: read everything since the start date again, merge it"
            " and mark rows that are gone upstream in deleted_at (never for activities). rebuild: drop the selected"
            " tables and their cursors and load them anew."
        ),
    )
    start: str | None = Field(
        default=None,
        description="Backfill: load rows whose cursor is at or after this ISO 8601 date-time. The cursor stays put.",
    )
    end: str | None = Field(default=None, description="Backfill: ... and before this one. Now, by default.")

    page_size: int | None = Field(
        default=None, description="Rows a page, in this run. By default as configured (sources.analytics.page_size)."
    )
    requests_in_flight: int | None = Field(
        default=None,
        description=(
            "Most requests at once, in this run. By default as configured (sources.analytics.requests_in_flight)."
        ),
    )

    def overrides(self) -> dict[str, int | None]:
        """The settings that this run has instead of the configured ones; `None` stands for not given.

        Raises:
            RunConfigError: One is below 1.
        """
        found = {"page_size": self.page_size, "requests_in_flight": self.requests_in_flight}
        for name, value in found.items():
            if value is not None and value < 1:
                raise RunConfigError(f"{name}: {value} is below 1.")
        return found

    def reading(self) -> Reading:
        """The part of it that the source needs.

        Raises:
            RunConfigError: `start` or `end` is malformed, or they do not go with each other or with `mode`.
        """
        window = {}
        for name, value in (("start", self.start), ("end", self.end)):
            if value is None:
                continue
            try:
                window[name] = read_date(value)
            except ValueError as error:
                raise RunConfigError(f"{name}: {value!r} {DATES}.") from error
        if window and self.mode is not Mode.incremental:
            raise RunConfigError(
                f"start and end bound a backfill, which goes with mode: incremental, not {self.mode.value}."
            )
        if "end" in window and "start" not in window:
            raise RunConfigError("end without start: a backfill needs both, or start alone.")
        if len(window) == 2 and window["start"] >= window["end"]:
            raise RunConfigError(f"start {self.start} is not before end {self.end}.")
        return Reading(everything=self.mode is Mode.full, start=window.get("start"), end=window.get("end"))
