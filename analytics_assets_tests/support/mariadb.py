"""A MariaDB server of the test run's own."""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pymysql

from analytics_assets_tests.support.postgres import free_port


def mariadb_binaries() -> Path | None:
    """Where `mariadbd` is; `mariadb-install-db` is on the path beside it."""
    found = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/opt/homebrew/bin")
    return Path(found) if found else None


def serve_mariadb(server: Path, directory: Path) -> Iterator[str]:
    """Runs a server in a directory."""
    user: list[str] = []
    if os.geteuid() == 0:  # MariaDB refuses to run as root
        user = [f"--user={'mysql' if any(entry.pw_name == 'mysql' for entry in pwd.getpwall()) else 'nobody'}"]
        shutil.chown(directory, user[0].removeprefix("--user="))
    # The user of the server may not write where the user of the tests has temporary files.
    data, scratch, port = f"--datadir={directory / 'data'}", f"--tmpdir={directory}", free_port()
    install = ["mariadb-install-db", "--no-defaults", data, scratch, "--auth-root-authentication-method=normal", *user]
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
    options = [
        scratch,
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={directory / 'socket'}",
        "--skip-log-bin",
    ]
    options += ["--innodb-flush-log-at-trx-commit=0", f"--log-error={directory / 'log'}"]
    with subprocess.Popen([str(server), "--no-defaults", data, *options, *user]) as process:
        try:
            _await(process, port)
            with closing(pymysql.connect(host="127.0.0.1", port=port, user="root")) as connection:
                cursor = connection.cursor()
                cursor.execute("CREATE USER loader@'127.0.0.1' IDENTIFIED BY 'pw-canary'")
                cursor.execute("GRANT ALL ON *.* TO loader@'127.0.0.1'")
            yield f"mysql+pymysql://loader:pw-canary@127.0.0.1:{port}/"
        finally:
            process.terminate()


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    while process.poll() is None:
        try:
            pymysql.connect(host="127.0.0.1", port=port, user="root").close()
        except pymysql.err.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("MariaDB does not start")
