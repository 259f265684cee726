"""The run config of the assets. Its descriptions are shown in the launchpad."""

from enum import Enum

import dagster as dg
from pydantic import Field

from analytics_assets.api.reading import Reading
from analytics_assets.api.settings_reader import DATES, read_date


class Mode(Enum):
    """How much a run reads, and whether it drops the tables first."""

    incremental = "incremental"
    full = "full"
    rebuild = "rebuild"


class RunConfigError(ValueError):
    """A value of run config that is malformed, or does not go with the others."""


class SyncConfig(dg.Config):
    """Run config of the op `analytics_api`."""

    mode: Mode = Field(
        default=Mode.incremental,
        description=(
            "incremental: load rows that are new since the cursor. full: read everything since the start date again,"
            " merge it, and mark rows that are gone upstream in deleted_at (never for activities). rebuild: drop the"
            " selected tables and their cursors, and load them anew."
        ),
    )
    start: str | None = Field(
        default=None,
        description=(
            "Backfill: load rows whose cursor is at or after this ISO 8601 date-time. It leaves the cursor alone."
        ),
    )
    end: str | None = Field(
        default=None,
        description="Backfill: load rows whose cursor is before this ISO 8601 date-time. Needs start. Now by default.",
    )

    page_size: int | None = Field(
        default=None, description="Rows per page in this run. By default the setting page_size."
    )
    requests_in_flight: int | None = Field(
        default=None,
        description="Most requests at once in this run. By default the setting requests_in_flight.",
    )

    def overrides(self) -> dict[str, int | None]:
        """The settings that this run overrides, by key; `None` keeps the configured value.

        Raises:
            RunConfigError: A value is below 1.
        """
        found = {"page_size": self.page_size, "requests_in_flight": self.requests_in_flight}
        for name, value in found.items():
            if value is not None and value < 1:
                raise RunConfigError(f"{name}: {value} is below 1. Give at least 1, or leave it out.")
        return found

    def reading(self) -> Reading:
        """How much this run reads.

        Raises:
            RunConfigError: `start` or `end` is malformed, or does not go with the other or with `mode`.
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
