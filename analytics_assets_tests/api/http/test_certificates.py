"""Authorities to trust: those of the environment, and what is said of those that are none."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from analytics_assets.defs.automation.delivery import AlertError, tell
from analytics_assets_tests.servers.fake_api import PATHS, TOKEN, Answer, FakeApi, serve
from analytics_assets_tests.servers.webhook import Webhook
from analytics_assets_tests.support.commands import check
from analytics_assets_tests.support.project import Project, failure_message


def authority_of_ones_own(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server needs to be 127.0.0.1 by an authority that nobody knows, and the file with its certificate."""
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    return tls, bundle


@pytest.mark.parametrize(
    "named",
    [
        {"REQUESTS_CA_BUNDLE": "authority.pem", "CURL_CA_BUNDLE": "missing.pem"},
        {"REQUESTS_CA_BUNDLE": "authorities"},
        {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "authority.pem"},
        {"SSL_CERT_FILE": "authority.pem"},
        {},
    ],
    ids=str,
)
def test_a_private_authority_is_trusted_only_if_the_environment_names_it(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: dict[str, str]
) -> None:
    tls, bundle = authority_of_ones_own(tmp_path)
    # As the system's: a link to a file for each certificate, of which some have gone, and files that are none.
    directory = tmp_path / "authorities"
    directory.mkdir()
    (directory / "9d66eef0.0").symlink_to(bundle)
    (directory / "9d66eef0.1").symlink_to(tmp_path / "gone.pem")
    (directory / "README").write_text("Certificates of authorities")
    for variable, name in named.items():
        monkeypatch.setenv(variable, name and str(tmp_path / name))
    with serve(tls) as api:
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", api.url)
        monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", TOKEN)
        result = check(tmp_path)
    if named:
        assert result.returncode == 0, result.stdout + result.stderr
    else:
        assert result.returncode == 1
        assert "invalid peer certificate: UnknownIssuer" in " ".join(result.stdout.split())
        assert not api.requests


def no_file(path: Path) -> None:
    pass


def file_without_certificate(path: Path) -> None:
    path.write_bytes(trustme.CA().private_key_pem.bytes())


def file_in_circles(path: Path) -> None:
    path.symlink_to(path)


def file_that_was_cut(path: Path) -> None:
    whole = trustme.CA().cert_pem.bytes()
    path.write_bytes(whole[:200] + whole)


def directory_without_hashes(path: Path) -> None:
    path.mkdir()
    trustme.CA().cert_pem.write_to_path(str(path / "authority.pem"))


NO_AUTHORITIES = [
    (no_file, "cannot be read: No such file or directory. Set it to a PEM file"),
    (file_in_circles, "cannot be read: Too many levels of symbolic links. Set it to a PEM file"),
    (file_without_certificate, "has no certificate in it (-----BEGIN CERTIFICATE-----). Set it to a PEM file"),
    (file_that_was_cut, "has a certificate that cannot be read: invalid certificate encoding. Set it to a PEM file"),
    (directory_without_hashes, "has no file that is named by a hash, such as 9d66eef0.0, with a certificate in it"),
]


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize(("make", "problem"), NO_AUTHORITIES)
def test_a_wrong_bundle_of_authorities_is_one_error_before_any_request(
    api: FakeApi,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    make: Callable[[Path], None],
    problem: str,
) -> None:
    bundle = tmp_path / "bundle"
    make(bundle)
    monkeypatch.setenv(variable, str(bundle))
    result = project.run()
    message = failure_message(result)
    assert message.startswith(f"{variable} = '{bundle}' {problem}")
    assert message.count(variable) == 1
    assert api.requests == []
    run = project.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/max_retries"] == "0"


def test_the_check_says_in_one_sentence_that_the_bundle_is_missing(
    api: FakeApi, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    result = check(tmp_path)
    assert result.returncode == 1
    assert result.stdout == (
        f"REQUESTS_CA_BUNDLE = '{tmp_path}/missing.pem' cannot be read: No such file or directory. Set it to a PEM file"
        " with the certificates of the authorities to trust, or to a directory of such files that `openssl rehash` has"
        " named; or unset it.\n"
    )
    assert "Traceback" not in result.stderr
    assert api.requests == []


def test_an_alert_says_that_the_bundle_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, webhook: Webhook
) -> None:
    # With a patience that no other test has, as a process keeps its clients.
    monkeypatch.setattr("analytics_assets.defs.automation.delivery.WEBHOOK_TIMEOUT", 4.125)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with pytest.raises(AlertError, match=r"did not take the alert: REQUESTS_CA_BUNDLE = .* cannot be read"):
        tell("text")


def test_a_redirect_from_http_to_https_of_the_host_is_followed_and_never_back(
    api: FakeApi, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, bundle = authority_of_ones_own(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with serve(tls) as encrypted:
        encrypted.rows["roles"] = api.rows["roles"]
        encrypted.answer_with("groups", Answer(302, headers={"Location": f"{api.url}/v2/groups"}))
        for resource in ("roles", "groups"):
            api.answer_always(resource, Answer(302, headers={"Location": encrypted.url + PATHS[resource]}))
        result = check(tmp_path)
    lines = {line.split()[1]: line for line in result.stdout.splitlines() if line.startswith(("ok", "failed"))}
    assert lines["roles"].startswith("ok"), result.stdout
    assert f"leads to {api.url}/v2/groups" in lines["groups"]
    assert {request.headers["Authorization"] for request in encrypted.requests} == {f"Bearer {TOKEN}"}
    assert len(api.asked("groups")) == 1
