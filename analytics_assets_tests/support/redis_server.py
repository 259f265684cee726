"""A Redis server of the test run's own."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def serve_redis(password: str = "pw-canary", address: str = "127.0.0.1") -> Iterator[str | None]:
    """Runs a server on a free port; yields its URL, or `None` where the program is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="analytics_redis_") as directory:
        options = ["--port", str(port), "--bind", address, "--save", "", "--requirepass", password]
        server = subprocess.Popen([program, *options], cwd=directory, stdout=subprocess.DEVNULL)
        try:
            _await(address, port, server)
            yield f"redis://:{password}@{address}:{port}/0"
        finally:
            server.terminate()
            server.wait()


def _await(address: str, port: int, server: "subprocess.Popen[bytes]") -> None:
    while True:
        try:
            socket.create_connection((address, port)).close()
        except OSError:
            assert server.poll() is None, "redis-server has ended"
            time.sleep(0.05)
        else:
            return
