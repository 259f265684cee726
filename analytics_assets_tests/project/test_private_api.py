"""What is used of dlt beyond its public API: docs/decisions/private-api.md lists it, and a test here breaks by name."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest
from dlt.extract.incremental import IncrementalResourceWrapper
from dlt.extract.source import DltSource

from analytics_assets.api.listing import open_listings
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.api.source import read_listing
from analytics_assets.api.values.columns import FIELD
from analytics_assets.warehouse.client import SqlClient
from analytics_assets.warehouse.parquet import DEDUPLICATED, write_parquet
from analytics_assets.warehouse.session import Session, open_session
from analytics_assets.warehouse.sync import begin_sync, sync
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.eight import BY_NAME, EIGHT

CHECKOUT = Path(__file__).parents[2]
DOCUMENT = CHECKOUT / "docs" / "decisions" / "private-api.md"

PUBLIC = ("dagster_embedded_elt.", "dlt.sources.rest_api")
"""Modules that people import from by the documentation of dlt and Dagster, beside `dlt` and `dagster` themselves."""


def imported() -> set[tuple[str, str]]:
    """Names that the package imports from modules of dlt and of Dagster's family which are not public."""
    nodes = [
        node
        for file in (CHECKOUT / "analytics_assets").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and "." in node.module
    ]
    return {
        (node.module or "", alias.name)
        for node in nodes
        for alias in node.names
        if (node.module or "").startswith(("dlt.", "dagster")) and not (node.module or "").startswith(PUBLIC)
    }


@pytest.mark.parametrize(("module", "name"), sorted(imported()))
def test_what_is_imported_is_listed(module: str, name: str) -> None:
    listed = re.findall("`([^`]+)`", DOCUMENT.read_text(encoding="utf-8"))
    assert any(name in re.findall(r"\w+", each) for each in listed), f"{module}.{name} is not in {DOCUMENT.name}"


class Ran:
    """Keeps the pipeline of a sync."""

    pipeline: dlt.Pipeline

    def __call__(self, pipeline: dlt.Pipeline, source: DltSource, options: Mapping[str, Any]) -> None:
        pipeline.run(source, **options)
        self.pipeline = pipeline


def load(session: Session, name: str) -> dlt.Pipeline:
    ran = Ran()
    with begin_sync(session, [BY_NAME[name]]) as [pending]:
        sync(pending, session, run=ran)
    return ran.pipeline


def test_steps_stand_before_and_behind_the_incremental_of_rest_api(api: FakeApi, tmp_path: Path) -> None:
    [listing] = open_listings(read_settings(EIGHT), [BY_NAME["policies"]]).values()
    source = read_listing(listing)
    write_parquet(source, listing, str(tmp_path))
    steps = source.resources["policies"]._pipe.steps
    # The requests, our reader, dlt's incremental, our filter of changes, our writer.
    assert [isinstance(step, IncrementalResourceWrapper) for step in steps] == [False, False, True, False, False]


def test_a_cursor_is_kept_in_the_state_of_its_resource_and_comes_back_from_the_destination(api: FakeApi) -> None:
    with open_session(read_settings(EIGHT)) as session:
        pipeline = load(session, "policies")
        name = pipeline.pipeline_name
        with session.client as client:
            stored: Any = client.stored_state(name)
    resource = stored["sources"][name]["resources"]["policies"]
    assert resource["incremental"]["updated"]["last_value"].isoformat()
    assert "recent" in resource


def test_a_trace_counts_the_rows_and_names_the_loads(api: FakeApi) -> None:
    with open_session(read_settings(EIGHT)) as session:
        trace = load(session, "roles").last_trace
    assert trace
    assert trace.last_normalize_info
    assert trace.last_load_info
    assert trace.last_normalize_info.row_counts["roles"] == len(api.rows["roles"])
    assert len(trace.last_load_info.loads_ids) == 1


def test_rows_carry_the_id_of_their_load_and_later_loads_compare_as_greater(api: FakeApi) -> None:
    with open_session(read_settings(EIGHT)) as session:
        before = load(session, "groups").last_trace
        api.rows["groups"][0]["name"] = "other"
        after = load(session, "groups").last_trace
        with session.client as client:
            ids = {row[0] for row in client.sql_client.execute_sql("SELECT DISTINCT _dlt_load_id FROM groups") or ()}
            recorded = client.sql_client.execute_sql("SELECT load_id FROM _dlt_loads WHERE status = 0 ORDER BY load_id")
    assert before
    assert after
    assert before.last_load_info
    assert after.last_load_info
    loads = [*before.last_load_info.loads_ids, *after.last_load_info.loads_ids]
    assert sorted(loads) == loads
    assert ids <= set(loads)
    assert [row[0] for row in recorded or ()] == loads


def test_hints_of_our_own_stay_in_the_stored_schema(api: FakeApi) -> None:
    api.rows["roles"][0]["brandNew"] = 1
    with open_session(read_settings(EIGHT)) as session:
        pipeline = load(session, "roles")
    column: Mapping[str, Any] = pipeline.default_schema.tables["roles"]["columns"]["brand_new"]
    assert column[FIELD] == "brandNew"
    assert DEDUPLICATED in pipeline.default_schema.tables["roles"]


def test_a_client_answers_in_sql_and_knows_dlts_own_tables(api: FakeApi) -> None:
    with open_session(read_settings(EIGHT)) as session:
        load(session, "roles")
        with session.client as client:
            assert isinstance(client, SqlClient)
            assert client.is_storage_initialized()
            names = {"roles", client.schema.loads_table_name, client.schema.version_table_name}
            assert client.columns_of([*names, "nothing"]).keys() == names
            assert client.stored_schema("analytics_roles")


def test_a_pipeline_that_does_not_intercept_signals_leaves_them_alone(api: FakeApi) -> None:
    with open_session(read_settings(EIGHT)) as session:
        assert load(session, "roles").runtime_config.intercept_signals is False


def test_statements_of_duckdbs_credentials_are_executed_with_each_connection(api: FakeApi) -> None:
    with open_session(read_settings(EIGHT)) as session, session.client as client:
        [[threshold]] = client.sql_client.execute_sql("SELECT current_setting('checkpoint_threshold')") or ()
    with duckdb.connect() as usual:
        assert threshold != usual.execute("SELECT current_setting('checkpoint_threshold')").fetchall()[0][0]
