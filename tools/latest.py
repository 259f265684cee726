"""Runs the suite on the newest Dagster: one import and one dependency line are all that has to change.

In a copy of the checkout, `dagster-embedded-elt` gives way to `dagster-dlt`, which is what it re-exports, and the pins
of its family go. Arguments are handed to pytest.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from analytics_assets_tests.support.checkout import CHECKOUT

ONE_IMPORT = (
    "analytics_assets/defs/assets/assets.py",
    "from dagster_embedded_elt.dlt import",
    "from dagster_dlt import",
)
ONE_DEPENDENCY = ("pyproject.toml", '  "dagster-embedded-elt==0.29.1",\n', "")


def main() -> int:
    uv = os.environ.get("UV", "uv")
    with tempfile.TemporaryDirectory(prefix="latest_") as directory:
        copy = Path(directory) / "checkout"
        ignored = shutil.ignore_patterns(".git", ".venv*", ".dagster", "data", "uv.lock", "*_cache", "__pycache__")
        shutil.copytree(CHECKOUT, copy, ignore=ignored)
        for name, old, new in (ONE_IMPORT, ONE_DEPENDENCY):
            text = (copy / name).read_text(encoding="utf-8")
            if text.count(old) != 1:
                sys.exit(f"{name} should contain {old!r} exactly once")
            (copy / name).write_text(text.replace(old, new), encoding="utf-8")
        project = copy / "pyproject.toml"
        unpinned = re.sub(r'"(dagster[a-z-]*)==[0-9.]+"', r'"\1"', project.read_text(encoding="utf-8"))
        project.write_text(unpinned, encoding="utf-8")
        environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": ".venv", "VIRTUAL_ENV": ""}
        sync = [uv, "sync", "--quiet", "--extra", "dev", "--compile-bytecode", "--python", sys.executable]
        subprocess.run(sync, cwd=copy, env=environment, check=True)
        shown = "import dagster, dagster_dlt, dlt; print(dagster.__version__, dagster_dlt.__version__, dlt.__version__)"
        subprocess.run([".venv/bin/python", "-c", shown], cwd=copy, env=environment, check=True)
        return subprocess.run(
            [".venv/bin/python", "-m", "pytest", "-n", "2", *sys.argv[1:]], cwd=copy, env=environment, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
