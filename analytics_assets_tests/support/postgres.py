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


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def serve_postgres(binaries: Path, directory: Path, address: str = "127.0.0.1", **options: str) -> Iterator[str]:
    """Runs a server in a directory.

    Args:
        binaries: Directory of Postgres's programs.
        directory: Where its data are.
        address: Address that it listens on. Whoever reaches it is let in without a password.
        options: Settings of the server, by name.
    """
    user = None
    if os.geteuid() == 0:  # Postgres refuses to run as root
        user = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
        shutil.chown(directory, user)
    port = free_port(address)
    data = directory / "data"
    given = {"listen_addresses": address, "unix_socket_directories": "''", "fsync": "off", **options}
    arguments = " ".join([f"-p {port}", *(f"-c {name}={value}" for name, value in given.items())])

    def run(program: str, *arguments: str) -> None:
        command = [str(binaries / program), "-D", str(data), *arguments]
        subprocess.run(command, check=True, user=user, cwd=directory, stdout=subprocess.DEVNULL)

    run("initdb", "-U", "loader", "-A", "trust", "-N")
    (data / "pg_hba.conf").write_text(f"host all all {address}/24 trust\n", encoding="utf-8")
    run("pg_ctl", "-w", "-l", str(directory / "log"), "-o", arguments, "start")
    try:
        yield f"postgresql://loader:pw-canary@{address}:{port}/postgres"
    finally:
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
