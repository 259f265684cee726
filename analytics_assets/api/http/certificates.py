"""The certificate authorities that requests trust."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import certifi

from analytics_assets.api.settings import SettingsError

BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Environment variables that name a bundle. The first one that is not empty wins, as in `requests`."""

HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""Name of a certificate file as `openssl rehash` makes it. OpenSSL ignores all other files of a directory."""

CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class AuthorityError(SettingsError):
    """An environment variable that does not name certificates to trust."""

    def __init__(self, variable: str, problem: str) -> None:
        ValueError.__init__(
            self,
            f"{variable} = {os.environ.get(variable)!r} {problem}. Set it to a PEM file with the certificates of the"
            " authorities to trust, or to a directory of such files that `openssl rehash` has named; or unset it.",
        )


def named_by() -> str | None:
    """Returns the environment variable that names the authorities; `None` if none is set."""
    return next((name for name in BUNDLES if os.environ.get(name)), None)


def read_certificates() -> bytes:
    """Returns certificates in PEM: those that the environment names, or else those of `certifi`, as `requests` does.

    Raises:
        AuthorityError: The path in the environment variable cannot be read, or holds no certificate.
    """
    variable = named_by()
    if variable is None:
        return Path(certifi.where()).read_bytes()
    path = Path(os.environ[variable])
    try:
        texts = _read_directory(path) if path.is_dir() else [path.read_bytes()]
        found = {certificate[0]: None for text in texts for certificate in CERTIFICATE.finditer(text)}
    except OSError as error:
        raise AuthorityError(variable, f"cannot be read: {error.strerror}") from error
    if not found:
        no = "no file that is named by a hash, such as 9d66eef0.0, with a" if path.is_dir() else "no"
        raise AuthorityError(variable, f"has {no} certificate in it (-----BEGIN CERTIFICATE-----)")
    return b"\n".join(found)


def _read_directory(path: Path) -> Iterator[bytes]:
    for file in sorted(path.iterdir()):
        # `is_file` is false for a broken link. OpenSSL ignores those, and the system's directory may have some.
        if HASHED.fullmatch(file.name) and file.is_file():
            yield file.read_bytes()
