"""The limits hold for the API: of several workers each has its part, or they share them through a server."""

import subprocess
import sys
import threading
import time

import pytest

from analytics_assets.api.settings import SettingsError
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.eight import EIGHT
from analytics_assets_tests.support.needs import absent
from analytics_assets_tests.support.rates import busiest_second
from analytics_assets_tests.support.reading import read_ids, refusal
from analytics_assets_tests.support.redis_server import serve_redis
from analytics_assets_tests.support.rows import organization

READ = "from analytics_assets_tests.support.reading import read_ids; print(len(read_ids('organizations')))"


def configure(patch: pytest.MonkeyPatch, **settings: object) -> None:
    for key, value in settings.items():
        patch.setenv(f"SOURCES__ANALYTICS__{key.upper()}", str(value))


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_two_workers_share_one_rate(
    empty_api: FakeApi, monkeypatch: pytest.MonkeyPatch, kind: str, request: pytest.FixtureRequest
) -> None:
    empty_api.rows["organizations"] = [organization(number) for number in range(1, 38)]
    times: list[float] = []
    # Both have started before either goes on.
    both = threading.Barrier(2, timeout=60)

    def note(asked: Request) -> None:
        times.append(time.monotonic())
        if "after" not in asked.query or asked.query["after"] == "0":
            both.wait()

    empty_api.faults["organizations"].append(note)
    with serve_redis() as redis:
        url = redis if kind == "redis" else request.getfixturevalue("postgres")
        if url is None:
            absent("no Redis on this machine: install Debian's redis-server")
        configure(monkeypatch, page_size=2, requests_per_second=40, rate_limit_url=url)
        workers = [
            subprocess.Popen([sys.executable, "-c", READ], stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE)
            for _ in range(2)
        ]
        read = [worker.communicate() for worker in workers]
    assert [out.strip() for out, _ in read] == ["37", "37"], read
    # Each alone has 38 a second, so without a common budget it would be twice that.
    assert len(times) >= 70
    assert (len(times) - 1) / (times[-1] - times[0]) <= 40
    assert busiest_second(times) <= 40


@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
def test_without_the_server_nothing_is_sent(api: FakeApi, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    url = f"{scheme}://someone:pw-canary@127.0.0.1:1/0"
    configure(monkeypatch, requests_per_second=40, rate_limit_url=url)
    says = refusal("roles")
    assert "No request was sent: the server of sources.analytics.rate_limit_url cannot be asked" in says
    assert "requests_per_second = 40. Start the server, or remove the setting" in says
    assert "pw-canary" not in says
    assert api.requests == []


def test_without_a_server_each_worker_has_its_part(empty_api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_api.rows["organizations"] = [organization(number) for number in range(1, 200)]
    at_once: list[int] = []
    now = 0

    def count(_: Request) -> Answer | None:
        nonlocal now
        now += 1
        at_once.append(now)
        time.sleep(0.02)
        now -= 1
        return None

    empty_api.faults["organizations"].append(count)
    configure(monkeypatch, page_size=20, requests_in_flight=8, workers=4)
    assert len(read_ids("organizations")) == 199
    assert max(at_once) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"rate_limit_url": "memcached://pw-canary", "requests_per_second": 1},
            "is no URL such as redis://:password@host",
        ),
        ({"rate_limit_url": "redis://:pw#pw-canary@host", "requests_per_second": 1}, "characters percent-encoded. Set"),
        ({"rate_limit_url": "redis://:pw-canary/pw@host", "requests_per_second": 1}, "characters percent-encoded. Set"),
        ({"rate_limit_url": "postgresql://u:pw-canary%ca@host", "requests_per_second": 1}, "percent-encoded. Set"),
        ({"rate_limit_url": "REDIS://:pw-canary@host", "requests_per_second": 1}, "is no URL such as redis://"),
        ({"rate_limit_url": "redis://:pw-canary@host"}, "has no rate to share: requests_per_second is missing"),
        ({"workers": 0}, "workers = 0 is below 1"),
    ],
)
def test_wrong_settings_are_refused(monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], message: str) -> None:
    configure(monkeypatch, **settings)
    with pytest.raises(SettingsError) as caught:
        read_settings(EIGHT)
    assert message in str(caught.value)
    assert "pw-canary" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["nonsense=1", "socket_timeout=soon"])
def test_a_wrong_query_of_the_url_is_named(api: FakeApi, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    configure(monkeypatch, requests_per_second=1e9, rate_limit_url=f"redis://:pw-canary@127.0.0.1:1/0?{wrong}")
    assert "the server of sources.analytics.rate_limit_url cannot be asked for its turn" in refusal("roles")


def test_missing_packages_are_named_with_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, rate_limit_url="redis://host", requests_per_second=1)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(
        SettingsError, match=r"missing: redis\. Install them: pip install 'analytics-assets\[shared-rate\]'"
    ):
        read_settings(EIGHT)
