"""The resources of a REST API as Dagster assets, loaded into a warehouse by dlt.

    API -> transport -> listing -> batches -> steps in dlt's pipe -> Parquet file -> table -> materialization

- `api`        reads the API. `connector` says what one API is: `catalog` lists its resources, `dialects` say where
               each is and how it is paged. `http` sends requests and validates responses, `pagination` and `listing`
               bring the rows, `values` turns them into cells, `incremental` keeps the new ones, and `source` makes a
               dlt source of it all. `settings` says what can be configured.
- `warehouse`  loads the rows. `sync` loads one resource, within a `session` that holds the `destination`. `deletions`
               marks rows that are gone, `profile` measures tables for the checks, `samples` reads rows for previews.
- `defs`       shows and runs it in Dagster. `assets` defines the assets and the resource `analytics`, `automation` the
               schedules, freshness policies and alerts, `quality` the checks, `display` progress, previews and error
               texts, `reports` the tables made by SQL files.
- `demo`       is an API with made-up rows, so that everything works before anything is configured.

`api`, `warehouse` and `demo` never import Dagster, and `api` never imports the other two. `definitions` is what
`dagster dev` loads, and has `build_definitions` for other projects; `component` does the same for a `defs.yaml`.
`__main__` and `commands` are the command line, and `dev` and `webserver` run Dagster's UI on this machine.

docs/architecture.md has the whole tree, the table of where each question is decided, and the glossary.
"""

from typing import Any


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class of Dagster, which whoever uses `api` alone does not import
    """Finds `analytics_assets.AnalyticsApiComponent` when it is asked for."""
    if name == "AnalyticsApiComponent":
        from analytics_assets.component import AnalyticsApiComponent  # noqa: PLC0415 - see above

        return AnalyticsApiComponent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Names the component, too, so that `dg list components` finds it."""
    return [*globals(), "AnalyticsApiComponent"]
