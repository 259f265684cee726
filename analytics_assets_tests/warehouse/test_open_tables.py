"""Merges into Delta and Iceberg tables."""

from pathlib import Path

import dlt
import pyarrow as pa
import pytest

from analytics_assets.warehouse.destination import build_destination
from analytics_assets.warehouse.target import Target
from analytics_assets_tests.support.lake import Lake


@pytest.mark.parametrize("table_format", ["delta", "iceberg"])
def test_of_each_key_the_newest_row_is_kept_and_what_it_lacks_is_null(
    table_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(table_format, str(tmp_path / "lake"))
    for name, value in lake.environment.items():
        monkeypatch.setenv(name, value)
    destination = build_destination(Target("filesystem", table_format=table_format))
    first = pa.table({"a": [1, 1, 2, 2], "b": ["x", "y", "x", "x"], "at": [1, 1, 2, 1], "old": ["1", "2", "3", "4"]})
    # The key (1, x) is not in it, though 1 and x are.
    second = pa.table({"a": [1, 2, 2, 3], "b": ["y", "x", "x", "z"], "at": [5, 7, 9, 8], "new": ["5", "6", "7", "8"]})
    for number, rows in enumerate((first, second)):
        resource = dlt.resource(
            [rows],
            name="roles",
            primary_key=["a", "b"],
            write_disposition="merge",
            columns={"at": {"dedup_sort": "desc"}},
        )
        working_dir = str(tmp_path / str(number))
        dlt.pipeline("any", destination=destination, dataset_name="analytics", pipelines_dir=working_dir).run(resource)
    with lake.connect(["roles"]) as connection:
        found = connection.execute('SELECT a, b, "at", old, new FROM roles ORDER BY a, b').fetchall()
    assert found == [(1, "x", 1, "1", None), (1, "y", 5, None, "5"), (2, "x", 9, None, "7"), (3, "z", 8, None, "8")]
