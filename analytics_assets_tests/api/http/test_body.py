"""Which bodies are JSON, and what is said of those that are not."""

import json
import re
import time

import pytest

from analytics_assets.api.http.weight import MOST_WEIGHT, weigh
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.oracle import RESCUED, canonical, expect
from analytics_assets_tests.support.project import Project, failure_message, materialized
from analytics_assets_tests.support.wire import (
    Scene,
    body_of,
    declared,
    differences,
    row,
    serve_body,
)

ROWS = [row(1, name='"caf\u00e9"', description=r'"\ud83d\ude00"')]


def test_every_encoding_that_python_reads_is_read(duck: Scene) -> None:
    plain = body_of("groups", ROWS)
    bodies = {
        "organizations": b"\xef\xbb\xbf" + plain,
        "policies": plain.decode().encode("utf-16"),
        "automation_scripts": plain.decode().encode("utf-16-be"),
        "groups": plain.decode().encode("utf-32"),
        "locations": b" \r\n\t" + plain + b"\n\n",
        "roles": plain.replace("\u00e9".encode(), b"\xed\xa0\xbd"),
        "software_products": body_of("software_products", [row('"a"', vendorName="NaN", productName="-Infinity")]),
        "activities": body_of("activities", [row(1, data="[" * 5_000 + "]" * 5_000, message=r'"\udfff"')]),
    }
    for resource, body in bodies.items():
        serve_body(duck.api, resource, Answer(body=body))
    result = duck.project.run(*bodies)
    assert set(materialized(result)) == bodies.keys(), failure_message(result)
    for resource in ("organizations", "policies", "automation_scripts", "groups", "locations"):
        assert duck.warehouse.table(resource) == {1: {"id": 1, "name": "caf\u00e9", "description": "\U0001f600"}}
    # Python reads the three bytes of a lone surrogate as one.
    assert duck.warehouse.table("roles")[1]["name"] == "caf\ufffd"
    rescued = canonical({"vendorName": "NaN", "productName": "-Infinity"})
    assert duck.warehouse.table("software_products") == {"a": {"id": "a", RESCUED: rescued}}
    deep = canonical({"data": "[" * 5_000 + "]" * 5_000})
    assert duck.warehouse.table("activities") == {1: {"id": 1, "message": "\ufffd", RESCUED: deep}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
def test_nul_and_lone_surrogates_are_replaced_in_every_encoding(duck: Scene, encoding: str) -> None:
    rows = [row(1, name=r'"\u0000NaN"', tags=r'["\u0000", "\ud83d", "\ud83d\ude00"]', deviceCount=r'"\u00005"')]
    products = [row(r'"\u0000a"', vendorName=r'"\\u0000"')]
    for resource, listed in (("groups", rows), ("software_products", products)):
        body = body_of(resource, listed).decode().encode(encoding)
        serve_body(duck.api, resource, Answer(body=body))
    duck.project.sync("groups", "software_products")
    for resource, listed in (("groups", rows), ("software_products", products)):
        assert not differences(duck.warehouse.table(resource), expect(declared(resource), listed))


NOT_JSON = {
    "organizations": body_of("organizations", ROWS).replace("\u00e9".encode(), b"\xff"),
    "policies": b'{"data": [{"id": 1, "name": "a\tb"}]}',
    "automation_scripts": b'{"data": [{"id": 1, "name": "x"}',
    "groups": b"",
    "locations": b'{"data": [{"id": 1, "name": \'x\'}]}',
    "roles": b"\xef\xbb\xbf\xef\xbb\xbf" + body_of("roles", ROWS),
    "software_products": b'{"data": [{"id": 1,}]} trailing',
    "activities": b'{"activities": [{"id": 01}]}',
}


def test_a_body_that_is_no_json_is_refused_by_the_parsers_words(duck: Scene) -> None:
    for resource, body in NOT_JSON.items():
        serve_body(duck.api, resource, Answer(body=body))
    message = failure_message(duck.project.run(*NOT_JSON))
    for resource, body in NOT_JSON.items():
        said = next(line for line in message.splitlines() if f"{resource}:" in line)
        assert "login page" not in said
        if not body:
            assert "empty" in said
            continue
        with pytest.raises(ValueError, match=r".") as caught:
            json.loads(body)
        where = caught.value.start if isinstance(caught.value, UnicodeDecodeError) else caught.value.pos  # type: ignore[attr-defined]
        [shown] = re.findall(r"(?:byte|char|position) ([0-9]+)\b(?!x)", said.split("It begins")[0])
        # Parsers differ in whether the last character that they took, or the next, is the wrong one.
        assert abs(int(shown) - where) <= 1, said


def test_no_content_and_a_login_page_are_errors_that_say_so(duck: Scene) -> None:
    serve_body(duck.api, "groups", Answer(204, b""))
    serve_body(duck.api, "roles", Answer(200, b"<!DOCTYPE html><html>Sign in</html>", {"Content-Type": "text/html"}))
    lines = failure_message(duck.project.run("groups", "roles")).splitlines()
    groups, roles = (next(line for line in lines if f"{name}:" in line) for name in ("groups", "roles"))
    assert "204 No Content" in groups
    assert "login page" not in groups
    assert "login page" in roles


def test_a_body_that_is_cut_in_a_text_with_many_escaped_quotes_is_refused_at_once(duck: Scene) -> None:
    colons = b":" * (MOST_WEIGHT // 250)
    cut = b'{"data": [{"id": 1, "data": "' + rb"\"" * 30_000
    began = time.process_time()
    assert weigh(b'["%b", %b' % (colons, cut)) < MOST_WEIGHT
    serve_body(duck.api, "activities", Answer(body=cut))
    said = failure_message(duck.project.run("activities"))
    assert f"it ends in mid-value (byte {len(cut)})" in said
    # It took more than half a minute for each reading of the text.
    assert time.process_time() - began < 15


def test_a_total_of_too_many_digits_is_ignored(api: FakeApi, project: Project) -> None:
    rows = json.dumps(api.rows["roles"])
    api.answer_always("roles", Answer(body=f'{{"data": {rows}, "total": {"9" * 5_000}}}'.encode()))
    project.sync("roles")
