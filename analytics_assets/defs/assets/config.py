"""The run config of the assets.

The launchpad sorts the fields by name, and cuts a description off from 90 characters on: each has fewer, and makes
sense alone.
"""

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
    """How much this run reads. Without any of these fields it loads what is new since the last sync.

    `full` reads all rows since the start date, merges them, and marks rows that are gone upstream in `deleted_at`, but
    never events. `rebuild` drops the selected tables and their cursors first. A backfill leaves the cursors alone.
    """

    mode: Mode = Field(
        default=Mode.incremental,
        # Dagster has no place for a description of each value.
        description="incremental: new rows. full: all again, and mark deleted ones. rebuild: drop and reload.",
    )
    start: str | None = Field(
        default=None,
        description="Begin of a backfill, such as 2024-05-01T00:00:00Z. Only rows from then on are read.",
    )
    end: str | None = Field(
        default=None,
        description="End of a backfill (the field start begins it), such as 2024-06-01; by default now.",
    )

    page_size: int | None = Field(
        default=None, description="Rows per page in this run, from 1; by default the setting page_size."
    )
    requests_in_flight: int | None = Field(
        default=None,
        description="Most requests at once in this run, from 1; by default requests_in_flight.",
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
