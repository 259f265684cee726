"""The demo API's dialect `ninjaone` is what NinjaOne's public API answers, by its facts and to a client of others."""

import itertools
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from analytics_assets.demo.server import DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TOKEN
from analytics_assets_tests.servers.demo_api import NOON, NinjaOneDemo
from analytics_assets_tests.servers.fake_api import PAGED, PATHS
from analytics_assets_tests.servers.running import running

HERE = Path(__file__).parent
FACTS: dict[str, Any] = yaml.safe_load((HERE / "ninjaone_api.yaml").read_text(encoding="utf-8"))
ENDPOINTS: dict[str, Any] = FACTS["endpoints"]

FORMATS = FormatChecker()
for bits in (32, 64):
    FORMATS.checks(f"int{bits}")(lambda value, limit=2 ** (bits - 1): not isinstance(value, int) or value < limit)

EVERY_PATH = pytest.mark.parametrize("path", ENDPOINTS)
PUBLISHED = "NINJAONE_ENDPOINTS"
"""The variable that names a file of the published endpoints: by path the OpenAPI operation, references resolved."""


@cache
def validator(path: str) -> Draft202012Validator:
    """The schema of the body of an endpoint, or of one of the definitions."""
    schema = ENDPOINTS[path]["body"] if path in ENDPOINTS else FACTS["definitions"][path]
    schema = {**schema, "definitions": FACTS["definitions"]}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FORMATS)


class Checked(NinjaOneDemo):
    """Holds every answer against the schemas, whoever asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: dict[str, list[Any]] = {path: [] for path in ENDPOINTS}

    def get(self, path: str, authorization: str | None = None, **query: Any) -> requests.Response:
        answer = super().get(path, authorization, **query)
        validator(path if answer.ok else "error").validate(answer.json())
        assert answer.headers["Content-Type"] == "application/json"
        if answer.ok:
            self.bodies[path].append(answer.json())
        return answer

    def ask_for_token(self, **form: str) -> requests.Response:
        answer = super().ask_for_token(**form)
        validator("token" if answer.ok else "error").validate(answer.json())
        return answer


@pytest.fixture
def demo() -> Iterator[Checked]:
    demo = Checked()
    with running(demo.server):
        yield demo


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("page_size", [10, 37, 1000])
def test_every_page_of_a_listing_fits_the_schema_and_none_is_missed(demo: Checked, name: str, page_size: int) -> None:
    if name == "activities" and page_size < 37:
        demo.now = datetime(2026, 1, 6, tzinfo=UTC)
    found = ids(demo.listing(name, page_size))
    assert len(found) == len(set(found)) > 15
    assert len(demo.bodies[PATHS[name]]) == (1 if name not in PAGED else -(-len(found) // page_size) + 1)
    if name == "activities":
        assert found == sorted(found, reverse=True)
        assert {body["lastActivityId"] for body in demo.bodies[PATHS[name]]} == {max(found)}
    elif name != "software_products":
        assert found == sorted(found)


def test_all_of_a_listing_comes_without_a_page_size(demo: Checked) -> None:
    for name in ("organizations", "locations"):
        assert demo.rows(name) == demo.listing(name, 10)
        assert ids(demo.rows(name, after=13, limit=1)) == ids(demo.rows(name))[13:]


def test_a_page_of_activities_has_200_rows_by_default_and_10_to_1000_at_will(demo: Checked) -> None:
    assert len(demo.rows("activities")) == 200
    for size in (10, 1000):
        assert len(demo.rows("activities", pageSize=size)) == size
    for wrong in ("9", "1001", "-20", "many"):
        assert demo.get("/v2/activities", pageSize=wrong).status_code == 400


def test_newer_than_brings_the_newest_page_first_and_excludes_older_than(demo: Checked) -> None:
    newest = demo.rows("activities", pageSize=30)
    last = newest[-1]["id"]
    assert ids(demo.rows("activities", newerThan=last)) == ids(newest)[:-1]
    assert demo.rows("activities", newerThan=last - 500, pageSize=30) == newest
    assert demo.get("/v2/activities", newerThan=last, olderThan=last).status_code == 400


def test_dates_leave_out_what_is_not_between_them_in_each_of_their_formats(demo: Checked) -> None:
    day = datetime(2026, 6, 30, tzinfo=UTC)
    kept = [row for row in demo.listing("activities") if 0 < row["activityTime"] - day.timestamp() < 86_400]
    assert 250 < len(kept) < 300
    for after, before in (
        (int(day.timestamp()), int(day.timestamp()) + 86_400),
        (f"{day.timestamp():.6f}", f"{day.timestamp() + 86_400:.6f}"),
        ("20260630", "20260701"),
        ("2026-06-30", "2026-07-01"),
        ("2026-06-30T00:00:00Z", "2026-07-01T02:00:00+02:00"),
    ):
        assert demo.rows("activities", after=after, before=before, pageSize=1000) == kept
        pages = [demo.rows("activities", after=after, before=before)]
        pages.append(demo.rows("activities", after=after, before=before, olderThan=pages[0][-1]["id"]))
        assert pages[0] + pages[1] == kept
    moment = kept[7]["activityTime"]
    near = {"after": f"{moment - 1e-6:.6f}", "before": f"{moment + 1e-6:.6f}"}
    assert demo.rows("activities", **near) == [kept[7]]
    assert demo.rows("activities", **{**near, "after": f"{moment:.6f}"}) == []
    assert demo.rows("activities", **{**near, "before": f"{moment:.6f}"}) == []
    assert demo.get("/v2/activities", after="yesterday").status_code == 400
    # As an offset, which it is in the specification, it is a moment of 1970.
    assert ids(demo.rows("activities", after=20)) == ids(demo.rows("activities"))


def test_a_date_misses_nothing_where_ids_are_not_in_the_order_of_time(demo: Checked) -> None:
    newest = demo.rows("activities", pageSize=1000)
    late = next(row for row, older in itertools.pairwise(newest) if row["activityTime"] < older["activityTime"])
    wanted = [row for row in newest if row["activityTime"] > late["activityTime"]]
    assert min(ids(wanted)) < late["id"]
    assert demo.rows("activities", after=f"{late['activityTime']:.6f}") == wanted


def test_the_newest_id_of_the_account_is_on_every_page_and_no_cursor(demo: Checked) -> None:
    newest = demo.rows("activities", pageSize=10)[0]["id"]
    demo.rows("activities", olderThan=newest - 500)
    demo.rows("activities", before="20260625")
    assert [body["lastActivityId"] for body in demo.bodies["/v2/activities"]] == [newest] * 3
    assert max(ids(demo.bodies["/v2/activities"][2]["activities"])) < newest


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({}, 200),
        ({"client_id": "unknown"}, 404),
        ({"client_secret": "wrong"}, 401),
        ({"scope": "control"}, 400),
        ({"scope": ""}, 400),
        ({"grant_type": "password"}, 400),
    ],
)
def test_a_token_is_issued_for_the_right_client_secret_and_scope_only(
    demo: Checked, form: dict[str, str], status: int
) -> None:
    answer = demo.ask_for_token(**form)
    assert answer.status_code == status
    assert ("access_token" in answer.json()) == (status == 200)


def test_a_token_is_asked_for_with_a_form_in_the_body_only(demo: Checked) -> None:
    form = urlencode(
        {
            "grant_type": "client_credentials",
            "client_id": DEMO_CLIENT_ID,
            "client_secret": DEMO_CLIENT_SECRET,
            "scope": "monitoring",
        }
    )
    url = demo.server.url + "/ws/oauth/token"
    for kind, status in (("application/x-www-form-urlencoded; charset=utf-8", 200), ("text/plain", 400)):
        assert requests.post(url, form, headers={"Content-Type": kind}, timeout=10).status_code == status
    assert requests.post(f"{url}?{form}", timeout=10).status_code == 400
    assert requests.get(f"{url}?{form}", timeout=10).status_code == 405


@pytest.mark.parametrize("authorization", ["", "Basic ZGVtbzpkZW1v", "Bearer", "Bearer ", DEMO_TOKEN])
def test_a_missing_or_garbled_authorization_is_a_bad_request(demo: Checked, authorization: str) -> None:
    assert demo.get("/v2/roles", authorization).status_code == 400
    assert requests.get(demo.server.url + "/v2/roles", timeout=10).status_code == 400


def test_a_token_lasts_an_hour(demo: Checked) -> None:
    first = demo.authorization()
    demo.now = NOON + timedelta(minutes=59, seconds=59)
    assert demo.get("/v2/roles", first).status_code == 200
    demo.now = NOON + timedelta(hours=1)
    for ended in (first, f"Bearer {DEMO_TOKEN}"):
        answer = demo.get("/v2/roles", ended)
        assert (answer.status_code, answer.json()["error_code"]) == (401, 10)
    second = f"Bearer {demo.ask_for_token().json()['access_token']}"
    assert second != first
    assert demo.get("/v2/roles", second).status_code == 200


def test_there_is_no_other_endpoint_and_no_other_method(demo: Checked) -> None:
    assert demo.get("/v2/devices").status_code == 404
    headers = {"Authorization": demo.authorization()}
    assert requests.post(demo.server.url + "/v2/roles", headers=headers, data={}, timeout=10).status_code == 405


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    """The endpoints as NinjaOne publishes them, where that file is at hand."""
    if PUBLISHED not in os.environ:
        pytest.skip(f"{PUBLISHED} names no file of the published endpoints")
    found: dict[str, Any] = json.loads(Path(os.environ[PUBLISHED]).read_text(encoding="utf-8"))
    return found


def published_body(published: dict[str, Any], path: str) -> dict[str, Any]:
    content = published[path]["responses"]["default"]["content"]
    body: dict[str, Any] = content["application/json"]["schema"]
    return body


@EVERY_PATH
def test_answers_fit_the_published_schemas(demo: Checked, published: dict[str, Any], path: str) -> None:
    schema = Draft202012Validator(published_body(published, path), format_checker=FORMATS)
    demo.listing(next(name for name in PATHS if PATHS[name] == path))
    for body in demo.bodies[path]:
        schema.validate(body)


@EVERY_PATH
def test_the_schemas_say_what_the_published_ones_say(published: dict[str, Any], path: str) -> None:
    parameters = {parameter["name"] for parameter in published[path]["parameters"]}
    assert set(ENDPOINTS[path]["parameters"]) <= parameters
    assert outline(ENDPOINTS[path]["body"]) == outline(published_body(published, path))


def outline(schema: dict[str, Any]) -> Any:
    """What a schema says of types: nested by field and item. Codes, which are many and an open set, are text."""
    while "$ref" in schema:
        schema = FACTS["definitions"][schema["$ref"].rpartition("/")[2]]
    if schema.get("type") == "object":
        # These two are in newer copies of the document only.
        fields = {name: field for name, field in schema.get("properties", {}).items() if name not in {"tags", "fields"}}
        return {name: outline(field) for name, field in fields.items()}
    if schema.get("type") == "array":
        return [outline(schema["items"])]
    few = schema.get("enum", [])
    return schema.get("type", "string"), schema.get("format"), sorted(few) if len(few) < 35 else []
