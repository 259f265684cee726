"""Injects each fault some times, looks at the tables after the next good run, and writes docs/reliability.md.

    python -m tools.faults

Before each injection the API gets new, edited and (where listings are complete) deleted rows, so that there is
something to lose. "Lost" are live rows of the API that the table lacks or has in an old version after the next run
without the fault; "duplicated" are ids that the table holds more than once.

Odd values come in rows of `policies` beside usual ones. "Lost" are those that are neither in a cell nor in
`_rescued_data`, "changed in silence" those in another cell than `oracle.py` has, which shares no code with the project.

Needs Linux: what is killed is forked, which is safe with these libraries there only.
"""

import json
import os
import resource
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg

from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import PATHS, TOKEN, Answer, FakeApi, serve
from analytics_assets_tests.support import oracle, wire
from analytics_assets_tests.support import rows as make
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.holder import holding
from analytics_assets_tests.support.nursery import DROPPED, MERGED, PREPARED, RESOURCES, Kill, Nursery, nursery
from analytics_assets_tests.support.project import Project, failure_message, resource_config

TIMES = 5
BIG = 5_000_000
DOCUMENT = CHECKOUT / "docs" / "reliability.md"

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
    with holding(scene.project.database) as process:
        seen = run(scene, run_config=resource_config(busy_timeout=1.0))
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
    "a changed type": always(
        "policies", Answer(body={"data": [make.policy(n, parentPolicyId=f"policy {n}") for n in range(1, 12)]})
    ),
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


VALUES: dict[str, list[dict[str, str]]] = {
    "a cursor that is no date": [{"updated": '"soon"'}],
    "text, a fraction, an object where an integer belongs": [
        {"parentPolicyId": '"many"'},
        {"parentPolicyId": "9.5"},
        {"parentPolicyId": "{}"},
    ],
    "an integer as text, or with a point": [{"parentPolicyId": '"12"', "nodeClassDefault": "1.0"}],
    "an integer of more than 64 bits": [{"parentPolicyId": "9223372036854775808", "tags": "[18446744073709551616]"}],
    "empty text": [{"name": '""', "parentPolicyId": '""', "updated": '""', "nodeClassDefault": '""', "tags": '""'}],
    "numbers where text belongs": [{"name": "1.10", "description": "12345678901234567890", "nodeClass": "true"}],
    "NUL and half a character": [{"name": '"a\\u0000b"', "tags": '{"\\u0000": "\\ud83d"}'}],
    "NaN and numbers beyond a double": [{"name": "NaN", "tags": "[Infinity]", "fields": '{"a": 1e400}'}],
    "the ends of the calendar": [{"updated": '"9999-12-31T23:59:59-05:00"', "extra": '"0001-01-01T00:00:00+02:00"'}],
    "spellings of a date-time": [{"updated": '"2024-12-31t23:59:60z"'}],
    "names that fold to one column": [{"ID": "2", "Name": '"x"', "parent_policy_id": "7", "日本": "1", "名前": "2"}],
    "names of ours, dlt's, a database's": [{"deletedAt": "0", "_dlt_id": "1", "xmin": "2", "_rescued_data": "3"}],
    "a new field that is an integer, a fraction, text": [{"price": "10"}, {"price": "9.99"}, {"price": '"9"'}],
    "JSON nested 600 deep": [{"tags": "[" * 600 + "]" * 600}],
}
"""Values of the fields of rows, one after the other, as they are on the wire."""


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
        api.rows = make.small_rows()
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


@dataclass
class Fate:
    """What became of odd values, over all injections."""

    injected: int = 0
    fitted: int = 0
    rescued: int = 0
    lost: int = 0
    changed: int = 0


def inject_values(odd: list[dict[str, str]]) -> Fate:
    """Has a row with odd values come `TIMES` times, each in a listing of its own beside other rows."""
    fate = Fate()
    with (
        tempfile.TemporaryDirectory() as directory,
        wire.scene(wire.Warehouse("duckdb", f"{directory}/x.duckdb")) as scene,
    ):
        usual = [json.dumps(make.policy(number)) for number in range(1, 4)]
        for number in range(100, 100 + TIMES):
            fields = odd[number % len(odd)]
            rows = [*usual, wire.row(number, **fields)]
            wire.serve_rows(scene.api, "policies", rows)
            scene.project.sync("policies")
            expected, found = (
                held[number]
                for held in (oracle.expect(wire.declared("policies"), rows), scene.warehouse.table("policies"))
            )
            kept = [json.loads(row.get(oracle.RESCUED, "{}")) for row in (expected, found)]
            for name in fields:
                fate.injected += 1
                fate.rescued += name in kept[1]
                fate.fitted += name in found
                fate.lost += name not in found and name not in kept[1] and (name in expected or name in kept[0])
                fate.changed += name in found and found[name] != expected.get(name)
                fate.changed += name in kept[1] and kept[1][name] != kept[0].get(name)
    return fate


def run(scene: Scene, **options: Any) -> str:
    """A run, and what it says of its resources or, if it did not come to them, of itself."""
    result = scene.project.run(*RESOURCES, **options)
    if result.success:
        return "nothing: the run succeeds"
    lines = failure_message(result).splitlines()
    failed = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    return " ".join(failed or lines)


def write(outcomes: dict[str, Outcome], fates: dict[str, Fate]) -> None:
    """Puts the tables between their marks in the document."""
    values = [
        "| what comes | values injected | in their column | rescued | lost | changed in silence |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {fate.injected} | {fate.fitted} | {fate.rescued} | {fate.lost} | {fate.changed} |"
            for name, fate in fates.items()
        ),
    ]
    put("values", values)
    table = ["| fault | injected | what the user sees | lost | duplicated |", "|---|---|---|---|---|"]
    for name, outcome in outcomes.items():
        seen = outcome.seen.replace("|", "\\|").replace("http://127.0.0.1", "http://host")
        table.append(f"| {name} | {outcome.injected} | {seen} | {outcome.lost} | {outcome.duplicated} |")
    put("faults", table)


def put(name: str, table: list[str], document: Path = DOCUMENT) -> None:
    """Puts lines between their marks in a document."""
    before, rest = document.read_text(encoding="utf-8").split(f"<!-- {name} -->\n")
    _, after = rest.split(f"<!-- end of {name} -->\n")
    text = f"{before}<!-- {name} -->\n" + "\n".join(table) + f"\n<!-- end of {name} -->\n{after}"
    document.write_text(text, encoding="utf-8")


def main() -> int:
    """Runs all faults; the exit status says whether anything was lost, duplicated or changed."""
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__REQUEST_BACKOFF_FACTOR": "0"}
    fates = {}
    for name, fields in VALUES.items():
        fates[name] = inject_values(fields)
        print(f"{name}: {fates[name]}", flush=True)
    outcomes = {}
    with nursery() as workers:
        for name, fault in FAULTS.items():
            outcomes[name] = inject(fault, workers)
            print(f"{name}: {outcomes[name]}", flush=True)
    write(outcomes, fates)
    harmed = any(outcome.lost or outcome.duplicated for outcome in outcomes.values())
    return int(harmed or any(fate.lost or fate.changed for fate in fates.values()))


if __name__ == "__main__":
    raise SystemExit(main())
