"""A Redis server of the test run's own."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def serve_redis(password: str = "pw-canary") -> Iterator[str | None]:
    """Runs a server; yields its URL, or `None` where the program is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="analytics_redis_") as directory:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", password]
        server = subprocess.Popen([program, *options], cwd=directory, stdout=subprocess.DEVNULL)
        try:
            _await(port, server)
            yield f"redis://:{password}@127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait()


def _await(port: int, server: "subprocess.Popen[bytes]") -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert server.poll() is None, "redis-server has ended"
            time.sleep(0.05)
        else:
            return
