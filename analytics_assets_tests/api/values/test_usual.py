"""Pages that are read at once against the same pages read as tokens."""

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_assets.api.catalog import Column
from analytics_assets.api.http import body as bodies
from analytics_assets.api.http.errors import PayloadError
from analytics_assets.api.http.response import ApiResponse
from analytics_assets.api.http.validation import read_rows
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.api.stats import SyncStats
from analytics_assets.api.values.arrow import spread, to_table
from analytics_assets.api.values.usual import usual_rows
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.edits import columns_with
from analytics_assets_tests.support.eight import BY_NAME, EIGHT
from analytics_assets_tests.support.project import Project

GROUPS = replace(
    BY_NAME["groups"],
    columns=columns_with(
        "groups",
        Column("score", "double", ""),
        Column("price", "decimal", ""),
        Column("day", "date", ""),
        Column("seenAt", "timestamp", ""),
        Column("isOpen", "bool", ""),
        Column("class", "text", ""),
    ),
)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
USUAL: dict[str, st.SearchStrategy[str]] = {
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "bool": st.booleans().map(json.dumps),
    "date": st.dates().map(lambda day: json.dumps(day.isoformat())),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-1000, max_value=1000).map(str),
    "double": st.floats(allow_nan=False, allow_infinity=False).map(repr),
    "json": st.dictionaries(texts, st.integers() | texts, max_size=2).map(lambda each: json.dumps(each, indent=1)),
    "text": st.builds(json.dumps, texts, ensure_ascii=st.booleans()),
    "timestamp": st.datetimes().map(lambda moment: json.dumps(f"{moment.isoformat()}Z")),
}
ODD = [
    *("-0", "1.0", "1e3", "1.10", "9223372036854775808", "1e400", "1e-400", "NaN", "-Infinity", "1" * 310),
    *("0", "1", "true", "null", '""', '" "', '"7"', '"TRUE"', '"1e400"', '"2024-01-01"', '"20240101"'),
    *('"2024-05-01t24:00:00z"', "1714521600", "1714521600.1234567", '"0001-01-01T00:00:00+02:00"'),
    *(r'"\u0000"', r'"a\ud800"', r'"\ud83d\ude00\/"', r'"\"', "\xff", "tru", "01", "1."),
    *('[1, "\\u0041", -0]', '{"a": 1, "a": 1e400}', '{"a" : [NaN]}', '{"a": {"b": "\\udfff"}}'),
    *("[ " * 499 + "]" * 499, "[ " * 600 + "]" * 600, "[ " * 3_000 + "]" * 3_000),
]

MORE = ['"other": 1', '"name": "again"', '"id": 5', '"id": "5"', '"tags": [1e400]']
"""Fields that a row has once more, or that nobody declares."""


@st.composite
def pages(draw: st.DrawFn) -> bytes:
    """A page of rows whose fields come in any order, or not at all; half of the pages have odd values, too."""
    share = draw(st.sampled_from([0, 0, 0, 1, 8]))
    kept = [column for column in GROUPS.columns if column.name == "id" or draw(st.integers(0, 5))]
    rows = []
    for number in range(draw(st.integers(0, 3))):
        fields = []
        for column in draw(st.permutations(kept)):
            is_odd = draw(st.integers(1, 60)) <= share
            usual = st.just(str(number)) if column.name == "id" else USUAL[column.type] | st.just("null")
            fields.append(
                f'"{column.name}"{draw(st.sampled_from(["", " "]))}:{draw(st.sampled_from(ODD) if is_odd else usual)}'
            )
        if draw(st.integers(1, 60)) <= share:
            fields.append(draw(st.sampled_from(MORE)))
        separator = draw(st.sampled_from([",", ", ", " ,\n"]))
        rows.append(f"{{{separator.join(fields)}}}")
    if share and not draw(st.integers(0, 20)):
        rows.append(draw(st.sampled_from(["null", "1", "{}", "[]"])))
    return page_of(rows)


def page_of(rows: list[str]) -> bytes:
    return f'{{"data" : [{" , ".join(rows)}], "total":3}}'.encode("utf-8", "surrogatepass")


@pytest.mark.usefixtures("api")
def test_a_page_that_is_read_at_once_is_the_same_table() -> None:
    api_settings, usual = read_settings(EIGHT), usual_rows(GROUPS)
    assert usual
    kinds: set[object] = set()

    def read(body: bytes, decoder: Any) -> tuple[list[Any] | str, SyncStats]:
        stats = SyncStats()
        response = ApiResponse("/groups", (), 200, "OK", "application/json", None, body)
        try:
            return read_rows(response, GROUPS, api_settings, stats, None, decoder), stats
        except PayloadError as error:
            return str(error), stats

    def compare(listed: list[bytes]) -> None:
        batch: list[list[Any]] = [[], []]
        for page in listed:
            at_once, stats = read(page, usual)
            as_tokens, known = read(page, None)
            assert stats == known
            if isinstance(as_tokens, str) or isinstance(at_once, str):
                assert at_once == as_tokens
                kinds.add("error")
                continue
            kinds.update(type(row) for row in at_once)
            batch[0] += at_once
            batch[1] += as_tokens
        found, expected = (spread(to_table(rows, GROUPS), GROUPS, {}) for rows in batch)
        assert found.schema.equals(expected.schema, check_metadata=True)
        # Every bit of it, -0.0 included.
        assert _bits(found) == _bits(expected)

    odd = [f'"{column.name}": {token}' for column in GROUPS.columns for token in ODD]
    for field in [*odd, *MORE]:
        compare([page_of([f'{{"id": 7, {field}}}', '{"id": 8}'])])
    settings(max_examples=100, deadline=None, derandomize=True, database=None)(
        given(st.lists(pages(), min_size=1, max_size=3))(compare)
    )()
    assert len(kinds) == 3


def _bits(table: pa.Table) -> bytes:
    columns = [column.combine_chunks() for column in table.columns]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(pa.Table.from_arrays(columns, schema=table.schema))
    return bytes(sink.getvalue())


def test_usual_pages_are_read_at_once(api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    split: list[object] = []
    find_rows = bodies._find_rows

    def note(body: bytes, endpoint: Any) -> Any:
        split.append(body)
        return find_rows(body, endpoint)

    monkeypatch.setattr(bodies, "_find_rows", note)
    names = ["activities", "groups", "software_products"]
    project.sync(*names)
    assert not split
    for name in names:
        assert len(project.ids(name)) == len(api.rows[name])


def test_a_resource_with_hidden_fields_or_paths_is_read_as_tokens() -> None:
    assert usual_rows(replace(GROUPS, hashed=("name",))) is None
    assert usual_rows(replace(GROUPS, columns=(*GROUPS.columns, Column("meta.updatedAt", "timestamp", "")))) is None
    assert usual_rows(replace(GROUPS, columns=(*GROUPS.columns, Column("__init__", "text", "")))) is None
