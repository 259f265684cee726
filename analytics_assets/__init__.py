"""Eight resources of a REST API as Dagster assets, loaded into a warehouse by dlt.

    .dlt and environment -> settings -> source + pipeline -> assets -> warehouse -> Dagster's UI

- `api`        the remote API as a dlt source: what exists (`catalog`), how it is asked for (`dialects`, `paging`,
               `transport`), what an answer must satisfy (`guards`), which rows are news (`pages`); `source` joins them
- `warehouse`  where the rows land: destination, a pipeline for each resource, deletions, what the tables hold
- `defs`       what Dagster shows and runs: specs, freshness, schedules, alerts, the resource `analytics`, the assets,
               their checks, reports made from them
- `demo`       an API with made-up data, so that everything works before anything is configured

`api`, `warehouse` and `demo` do not know Dagster. `definitions` is what `dagster dev` loads.
"""
