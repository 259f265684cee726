"""A Postgres server of the test run's own."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psycopg2


def postgres_binaries() -> Path | None:
    for name in ("/usr/lib/postgresql", "/opt/homebrew/opt"):
        for directory in sorted(Path(name).glob("*/bin"), reverse=True):
            if (directory / "initdb").exists():
                return directory
    found = shutil.which("initdb")
    return Path(found).parent if found else None


def serve_postgres(binaries: Path, directory: Path) -> Iterator[str]:
    """Runs a server in a directory."""
    user = None
    if os.geteuid() == 0:  # Postgres refuses to run as root
        user = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
        shutil.chown(directory, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = directory / "data"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"

    def run(program: str, *arguments: str) -> None:
        command = [str(binaries / program), "-D", str(data), *arguments]
        subprocess.run(command, check=True, user=user, cwd=directory, stdout=subprocess.DEVNULL)

    run("initdb", "-U", "loader", "-A", "trust", "-N")
    run("pg_ctl", "-w", "-l", str(directory / "log"), "-o", options, "start")
    yield f"postgresql://loader:pw-canary@127.0.0.1:{port}/postgres"
    run("pg_ctl", "-m", "immediate", "stop")


def create_database(server: str) -> str:
    """An empty database beside that of a URL; returns its URL."""
    name = f"test_{uuid4().hex}"
    with closing(psycopg2.connect(server)) as connection:
        # A database cannot be created within a transaction.
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
    return f"{server.rpartition('/')[0]}/{name}"
