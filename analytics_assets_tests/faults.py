"""Injects each fault some times, looks at the tables after the next good run, and writes docs/reliability.md.

    python -m analytics_assets_tests.faults

Before each injection the API gets new, edited and (where listings are complete) deleted rows, so that there is
something to lose. "Lost" are live rows of the API that the table lacks or has in an old version after the next run
without the fault; "duplicated" are ids that the table holds more than once.

Needs Linux: what is killed is forked, which is safe with these libraries there only.
"""

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg

from analytics_assets_tests import rows as make
from analytics_assets_tests.conftest import Project, failure_message
from analytics_assets_tests.fake_api import PATHS, TOKEN, Answer, FakeApi, Request, serve
from analytics_assets_tests.nursery import DROPPED, MERGED, PREPARED, RESOURCES, Kill, Nursery, nursery
from analytics_assets_tests.test_destination import HOLD, config

TIMES = 5
BIG = 5_000_000
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"

Fault = Callable[["Scene"], str]
"""Runs a sync with a fault; returns what the user sees."""


@dataclass
class Scene:
    """What faults are injected into."""

    api: FakeApi
    project: Project
    workers: Nursery


def always(name: str, answer: Answer) -> Fault:
    def fault(scene: Scene) -> str:
        scene.api.answer_always(name, answer)
        return run(scene)

    return fault


def once(name: str, *answers: Answer) -> Fault:
    def fault(scene: Scene) -> str:
        scene.api.answer_with(name, *answers)
        return run(scene)

    return fault


def changing(change: Callable[[list[dict[str, Any]]], object]) -> Fault:
    """Changes the organizations after their first page has been sent."""

    def fault(scene: Scene) -> str:
        rows = scene.api.rows["organizations"]
        left = [change]

        def between_pages(request: Request) -> None:
            if request.query["after"] != "0" and left:
                left.pop()(rows)

        scene.api.faults["organizations"].append(between_pages)
        return run(scene)

    return fault


def drop_table(scene: Scene) -> str:
    scene.project.query("DROP TABLE analytics.policies")
    return run(scene)


def killed(point: str, mode: str = "incremental") -> Fault:
    def fault(scene: Scene) -> str:
        code = scene.workers.run(mode, Kill("policies", point))
        assert code == -signal.SIGKILL, f"{point} was not reached: {scene.workers.last_words()}"
        missing = " policies is missing until then." if point == DROPPED else ""
        return f"The process ends without a message; the next run loads what it did not.{missing}"

    return fault


def held_too_long(scene: Scene) -> str:
    """Another process has the DuckDB file for longer than the run waits."""
    command = [sys.executable, "-c", HOLD, str(scene.project.database), "writer"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        seen = run(scene, run_config=config(busy_timeout=1.0))
        process.communicate("\n")
    assert str(process.pid) in seen
    # DuckDB goes on to name the program and the user.
    return seen.partition(" DuckDB says")[0]


def full_disk(scene: Scene) -> str:
    """No file of this process may grow beyond a size that the new activities exceed."""
    new = scene.api.rows["activities"][-3:]
    small = [row["data"] for row in new]
    for row in new:
        row["data"] = os.urandom(BIG).hex()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (scene.project.database.stat().st_size + BIG, hard))
    try:
        return run(scene)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        for row, data in zip(new, small, strict=True):
            row["data"] = data


HTML = Answer(body=b"<html>Please log in</html>", headers={"Content-Type": "text/html"})
FAULTS: dict[str, Fault] = {
    "429, three times": once("activities", *[Answer(429, headers={"Retry-After": "0"})] * 3),
    "503, three times": once("activities", *[Answer(503)] * 3),
    "503, for good": always("activities", Answer(503)),
    "401": always("policies", Answer(401)),
    "403": always("policies", Answer(403)),
    "404": always("policies", Answer(404)),
    "501": always("policies", Answer(501)),
    "connection cut in mid-body, once": once("policies", Answer(body={"data": [make.policy(1)]}, cut=30)),
    "connection cut in mid-body, for good": always("policies", Answer(body={"data": [make.policy(1)]}, cut=30)),
    "HTML with status 200": always("policies", HTML),
    "truncated JSON": always("policies", Answer(body=b'{"data": [{"id": 1}')),
    "wrong content encoding": always("policies", Answer(body=b"{}", headers={"Content-Encoding": "gzip"})),
    "selector absent": always("policies", Answer(body={"items": []})),
    "selector holds no list": always("policies", Answer(body={"data": None})),
    "a row that is no object": always("policies", Answer(body={"data": ["text"]})),
    "a row without id": always("policies", Answer(body={"data": [{"name": "x"}]})),
    "an id twice on a page": always("policies", Answer(body={"data": [make.policy(1), make.policy(1)]})),
    "a cursor that is no date": always("policies", Answer(body={"data": [make.policy(1, "soon")]})),
    "a changed type": always("policies", Answer(body={"data": [make.policy(1, "2099-01-01", parentPolicyId="x")]})),
    "an empty listing over a full table": always("organizations", Answer(body={"data": []})),
    "after ignored": always("organizations", Answer(body={"data": [make.organization(n) for n in range(1, 21)]})),
    "rows deleted while paging": changing(lambda rows: rows.__delitem__(slice(3, 6))),
    "rows inserted while paging": changing(lambda rows: rows.insert(0, make.organization(len(rows) + 5_000))),
    "table dropped by hand": drop_table,
    "SIGKILL in extract": killed("extract"),
    "SIGKILL in normalize": killed("normalize"),
    "SIGKILL in load, before the rows are merged": killed(PREPARED),
    "SIGKILL in load, after the rows are merged": killed(MERGED),
    "SIGKILL in a rebuild, between dropping and loading": killed(DROPPED, "rebuild"),
    "DuckDB file held for longer than `busy_timeout`": held_too_long,
    "disk full": full_disk,
}


@dataclass
class Outcome:
    """What a fault did, over all injections."""

    injected: int
    seen: str
    lost: int
    duplicated: int


def change_rows(api: FakeApi, numbers: "count[int]") -> None:
    """Gives the API something new to lose."""
    for _ in range(3):
        number = next(numbers)
        moment = f"2025-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
        api.rows["activities"].append(make.activity(number, moment))
        api.rows["policies"].append(make.policy(number, moment))
        api.rows["organizations"].append(make.organization(number))
    api.rows["policies"][0] = make.policy(1, moment, name=f"Edited {number}")
    api.rows["organizations"].pop(2)


def compare(api: FakeApi, project: Project) -> tuple[int, int]:
    """How many of the API's rows the tables lack, and how many ids they hold twice."""
    lost = duplicated = 0
    for name in RESOURCES:
        content = "message" if name == "activities" else "name"
        live = "true" if name == "activities" else "deleted_at IS NULL"
        held = project.query(f"SELECT id, {content} FROM analytics.{name} WHERE {live}")
        served = {(row["id"], row[content]) for row in api.rows[name]}
        lost += len(served - set(held))
        duplicated += len(held) - len({key for key, _ in held})
    return lost, duplicated


def inject(fault: Fault, workers: Nursery) -> Outcome:
    """Injects one fault `TIMES` times into a project of its own."""
    numbers = count(100)
    outcome = Outcome(0, "", 0, 0)
    with tempfile.TemporaryDirectory() as directory, serve() as api, dg.DagsterInstance.ephemeral() as instance:
        project = Project(instance, Path(directory) / "faults.duckdb")
        os.environ |= {
            "DESTINATION__DUCKDB__CREDENTIALS": str(project.database),
            "SOURCES__ANALYTICS__BASE_URL": api.url,
            "SOURCES__ANALYTICS__API_KEY": TOKEN,
        }
        make.fill(api)
        project.sync(*RESOURCES)
        for _ in range(TIMES):
            change_rows(api, numbers)
            outcome.seen = fault(Scene(api, project, workers)).replace(directory, "/data")
            outcome.injected += 1
            api.faults = {name: [] for name in PATHS}
            project.sync(*RESOURCES)
            lost, duplicated = compare(api, project)
            outcome.lost += lost
            outcome.duplicated += duplicated
    return outcome


def run(scene: Scene, **options: Any) -> str:
    """A run, and what it says of its resources or, if it did not come to them, of itself."""
    result = scene.project.run(*RESOURCES, **options)
    if result.success:
        return "nothing: the run succeeds"
    lines = failure_message(result).splitlines()
    failed = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    return " ".join(failed or lines)


def write(outcomes: dict[str, Outcome]) -> None:
    """Puts the table between its marks in the document."""
    table = ["| fault | injected | what the user sees | lost | duplicated |", "|---|---|---|---|---|"]
    for name, outcome in outcomes.items():
        seen = outcome.seen.replace("|", "\\|").replace("http://127.0.0.1", "http://host")
        table.append(f"| {name} | {outcome.injected} | {seen} | {outcome.lost} | {outcome.duplicated} |")
    before, rest = DOCUMENT.read_text(encoding="utf-8").split("<!-- faults -->\n")
    _, after = rest.split("<!-- end of faults -->\n")
    text = f"{before}<!-- faults -->\n" + "\n".join(table) + f"\n<!-- end of faults -->\n{after}"
    DOCUMENT.write_text(text, encoding="utf-8")


def main() -> int:
    """Runs all faults; the exit status says whether anything was lost or duplicated."""
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__REQUEST_BACKOFF_FACTOR": "0"}
    outcomes = {}
    with nursery() as workers:
        for name, fault in FAULTS.items():
            outcomes[name] = inject(fault, workers)
            print(f"{name}: {outcomes[name]}", flush=True)
    write(outcomes)
    return int(any(outcome.lost or outcome.duplicated for outcome in outcomes.values()))


if __name__ == "__main__":
    raise SystemExit(main())
