"""What a server may send: so many bytes, for so long, and never more memory than there is."""

import gzip
import json
import time
import zlib

import pytest

from analytics_assets.api.http import decoding
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.rows import location, role

SIZE = "SOURCES__ANALYTICS__MAX_RESPONSE_MB"


def body_of(megabytes: float) -> bytes:
    """An honest page of roles of about that size."""
    text = "".join(map(chr, range(32, 127))) * 10
    count = int(megabytes * 1e6 / len(json.dumps(role(1, description=text))))
    return json.dumps({"data": [role(n, description=f"{n} {text}") for n in range(1, count + 1)]}).encode()


def test_a_page_of_fifty_megabytes_is_loaded(api: FakeApi, project: Project) -> None:
    body = body_of(50)
    assert len(body) > 50e6
    api.answer_always("roles", Answer(body=body))
    said = metadata(project.sync("roles"), "roles")
    assert said["rows_loaded"] == said["dagster/row_count"] > 40_000
    assert said["bytes"] == len(body)


def test_pages_too_large_to_be_read_ahead_are_read_one_by_one_and_whole(api: FakeApi, project: Project) -> None:
    api.rows["locations"] = [location(n, description=f"{n:06}" * 50_000) for n in range(1, 60)]
    said = metadata(project.sync("locations"), "locations")
    assert project.ids("locations") == list(range(1, 60))
    # The first was asked for ahead, in vain.
    assert [request.query["after"] for request in api.asked("locations")] == ["0", "0", "19", "38", "57", "59"]
    assert (said["requests"], said["retries"]) == (6, 0)


@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate", "chunked"])
@pytest.mark.parametrize("megabytes", [0.9, 1.1, 8])
def test_an_answer_over_the_limit_is_an_error_and_one_below_it_is_loaded(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, encoding: str, megabytes: float
) -> None:
    monkeypatch.setenv(SIZE, "1")
    body = body_of(megabytes)
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body) if encoding == "deflate" else body
    headers = {"Content-Encoding": encoding} if encoding in {"gzip", "deflate"} else {}
    if encoding == "chunked":
        half = len(packed) // 2
        parts = [b"%x\r\n%s\r\n" % (len(part), part) for part in (packed[:half], packed[half:], b"")]
        packed, headers = b"".join(parts), {"Transfer-Encoding": "chunked", "Content-Length": ""}
    api.answer_always("roles", Answer(body=packed, headers=headers))
    result = project.run("roles")
    assert len(api.asked("roles")) == 1
    if megabytes < 1:
        assert result.success, failure_message(result)
        assert metadata(result, "roles")["bytes"] == len(body)
    else:
        assert "GET /v2/roles" in failure_message(result) or "/v2/roles answered" in failure_message(result)
        assert "more than 1 MB. If the API's pages are really so large" in failure_message(result)
        assert "max_response_mb" in failure_message(result)


def test_raw_deflate_is_read_too(api: FakeApi, project: Project) -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(json.dumps({"data": api.rows["roles"]}).encode()) + packer.flush()
    api.answer_always("roles", Answer(body=packed, headers={"Content-Encoding": "deflate"}))
    assert metadata(project.sync("roles"), "roles")["rows_loaded"] == len(api.rows["roles"])


def test_a_response_that_unpacks_to_500_times_its_size_is_an_error(api: FakeApi, project: Project) -> None:
    bomb = gzip.compress(b'{"data": [' + b" " * 20_000_000 + b"]}")
    assert len(bomb) < 40_000
    api.answer_always("roles", Answer(body=bomb, headers={"Content-Encoding": "gzip"}))
    message = failure_message(project.run("roles"))
    assert "that unpack to more than 500 times as many" in message


def test_gzip_in_several_members_and_several_times_is_read(api: FakeApi, project: Project) -> None:
    body = json.dumps({"data": api.rows["roles"]}).encode()
    packed = gzip.compress(gzip.compress(body[:20]) + gzip.compress(body[20:]))
    api.answer_always("roles", Answer(body=packed, headers={"Content-Encoding": "gzip, identity, gzip"}))
    assert metadata(project.sync("roles"), "roles")["rows_loaded"] == len(api.rows["roles"])


def test_the_time_of_gzip_grows_with_its_members_and_not_with_their_square() -> None:
    def seconds(members: int) -> float:
        began = time.process_time()
        assert decoding._unpack(gzip.compress(b"") * members, "gzip", 1) == (b"", True)
        return time.process_time() - began

    # Each member copied the rest of the body: eight times the members took fifty times as long.
    assert seconds(160_000) < 20 * seconds(20_000)


def test_gzip_that_ends_too_early_is_no_page(api: FakeApi, project: Project) -> None:
    packed = gzip.compress(json.dumps({"data": api.rows["roles"]}).encode())
    api.answer_always("roles", Answer(body=packed[:-8], headers={"Content-Encoding": "gzip"}))
    assert "it ends too early" in failure_message(project.run("roles"))


def test_a_wrong_content_encoding_is_a_clear_error(api: FakeApi, project: Project) -> None:
    api.answer_always("roles", Answer(body={"data": []}, headers={"Content-Encoding": "gzip"}))
    assert "Content-Encoding does not fit its body" in failure_message(project.run("roles"))
