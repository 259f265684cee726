"""Columns that are paths into nested objects."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest

from analytics_assets.api.catalog import Column
from analytics_assets_tests.support.edits import columns_with, edited
from analytics_assets_tests.support.project import failure_message, metadata
from analytics_assets_tests.support.wire import Scene, row, serve_rows

COLUMNS = (
    Column("meta.updatedAt", "timestamp", "When it was edited"),
    Column("meta.size.count", "bigint", "How many"),
    Column("meta.owner", "text", "Whose it is"),
)

DEEP = "[" * 600 + "]" * 600


@pytest.fixture(autouse=True)
def nested() -> Iterator[None]:
    with edited("groups", columns=columns_with("groups", *COLUMNS), cursor="meta.updatedAt"):
        yield


def group(number: int, /, meta: Any = None, **fields: Any) -> str:
    values = fields if meta is None else {"meta": meta, **fields}
    return row(number, **{name: json.dumps(value) for name, value in values.items()})


def cells(scene: Scene) -> dict[Any, Any]:
    query = "SELECT id, meta_size_count, meta_owner, _rescued_data FROM analytics.groups ORDER BY id"
    return {
        key: (count, owner, json.loads(rescued) if rescued else None)
        for key, count, owner, rescued in map(dict.values, scene.warehouse.query(query))
    }


def test_a_nested_value_is_in_its_column_and_its_object_stays(anywhere: Scene) -> None:
    meta = {"updatedAt": "2024-05-01T00:00:00Z", "size": {"count": "7"}, "owner": "Ada"}
    rows = [
        group(1, meta),
        group(2, {**meta, "size": {"count": "many"}}),
        group(3, {"size": 5, "owner": ""}),
        group(4, "text"),
        group(5, [meta]),
        group(6),
        row(7, meta=f'{{"owner":"x","deep":{DEEP}}}'),
        group(8, None, **{"meta.owner": "just so", "metaOwner": "another"}),
        group(9, meta, **{"meta.owner": "wins"}),
    ]
    serve_rows(anywhere.api, "groups", rows)
    anywhere.project.sync("groups")
    assert cells(anywhere) == {
        1: (7, "Ada", None),
        2: (None, "Ada", {"meta.size.count": "many"}),
        3: (None, "", None),
        4: (None, None, None),
        5: (None, None, None),
        6: (None, None, None),
        7: (None, None, {"meta": f'{{"owner":"x","deep":{DEEP}}}'}),
        8: (None, "just so", None),
        9: (7, "wins", None),
    }
    objects = anywhere.warehouse.query("SELECT id, meta FROM analytics.groups WHERE meta IS NOT NULL ORDER BY id")
    assert [json.loads(each["meta"]) for each in objects if each["id"] in {1, 4, 5}] == [meta, "text", [meta]]
    assert set(anywhere.warehouse.undeclared("groups")) == {"meta", "metaOwner"}


def test_a_nested_cursor_tells_what_is_new(anywhere: Scene) -> None:
    rows = [group(n, {"updatedAt": f"2024-05-01T00:0{n}:00Z", "owner": "x"}) for n in range(1, 9)]
    serve_rows(anywhere.api, "groups", rows)
    first = metadata(anywhere.project.sync("groups"), "groups")
    rows[2] = group(3, {"updatedAt": "2024-05-01T01:00:00Z", "owner": "edited"})
    rows.append(group(10, {"owner": "no cursor"}))
    serve_rows(anywhere.api, "groups", rows)
    again = metadata(anywhere.project.sync("groups"), "groups")
    assert (first["rows_loaded"], again["rows_loaded"], again["rows_without_cursor"]) == (8, 2, 1)
    assert (again["cursor_before"], again["cursor_after"]) == (1714522080, 1714525200)
    assert {key: found[1] for key, found in cells(anywhere).items()} == {
        **dict.fromkeys(range(1, 9), "x"),
        3: "edited",
        10: "no cursor",
    }


@pytest.mark.parametrize("paths", [{"hashed": ("meta.owner",)}, {"dropped": ("meta.owner.mail",)}], ids=str)
def test_nested_values_are_masked_before_they_are_read(
    duck: Scene, monkeypatch: pytest.MonkeyPatch, paths: dict[str, Any]
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__HASH_KEY", "key-of-the-hashes")
    rows = [group(1, {"owner": "Ada"}), group(2, {"owner": {"mail": "Ada"}}), group(3, {}, **{"meta.owner": "Ada"})]
    with edited("groups", **paths):
        serve_rows(duck.api, "groups", rows)
        duck.project.sync("groups")
    digest = hmac.new(b"key-of-the-hashes", b"Ada", hashlib.sha256).hexdigest()
    if "hashed" in paths:
        assert [found[1] for found in cells(duck).values()] == [digest, None, digest]
    assert "Ada" not in str(duck.warehouse.query("SELECT * FROM analytics.groups WHERE id < 3"))


def test_misfits_of_a_nested_column_are_a_changed_api(duck: Scene) -> None:
    serve_rows(duck.api, "groups", [group(n, {"size": {"count": "many"}}) for n in range(11)])
    message = failure_message(duck.project.run("groups"))
    assert "11 of 11 values of 'meta.size.count' do not fit its type bigint" in message
