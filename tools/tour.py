"""A tour of Dagster's UI and of the command line: each step acts, asserts what is shown, and takes a picture.

    python -m tools.tour

walks it in a fresh home and writes docs/tour.md with the pictures. The test walks the same steps and writes nothing.

Needs Chromium; Playwright's own browsers are never downloaded.
"""

import base64
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from playwright.sync_api import FloatRect, Locator, Page, expect, sync_playwright

from analytics_assets.api.values.columns import column_name
from analytics_assets.defs.names import name_all
from analytics_assets.defs.reports.assets import REPORTS
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.dagster_dev import PATIENCE, dagster_dev, find_chromium
from analytics_assets_tests.support.environment import CONFIGURED_BY
from tools import terminal

DOCUMENT = CHECKOUT / "docs" / "tour.md"
PICTURES = CHECKOUT / "docs" / "images"

WIDTH, HEIGHT = 1440, 900
TALL = 1060
"""Height at which the whole graph fits in."""

NAMES = name_all()

SHOWN = next(
    (resource for resource in NAMES.connector.resources if resource.append_only),
    next((resource for resource in NAMES.connector.resources if resource.cursor), NAMES.connector.resources[0]),
)
"""The resource whose pages are shown: the events, or another one that has something new in every sync."""

FIELD = next((column.name for column in SHOWN.columns if column.name == SHOWN.cursor), SHOWN.columns[0].name)
ASSET = NAMES.asset_key(SHOWN.name)
DOWNSTREAM = [report for report in REPORTS if SHOWN.name in report.inputs]
TABLES = NAMES.asset_keys() + [NAMES.report_key(report.name) for report in REPORTS]
"""What a run materializes; the endpoints only are."""


AUTOMATIONS = (NAMES.sync, NAMES.reconcile, "default_automation_condition_sensor")
"""What is off until it is switched on."""


@dataclass(frozen=True)
class Tour:
    """A browser tab on the UI, and a directory for the command line."""

    page: Page
    home: Path

    def run(self, command: str, interrupt: Callable[[str], bool] | None = None) -> terminal.Shown:
        """Runs a command in a terminal, with a warehouse and a history of its own."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(CONFIGURED_BY)}
        environment |= {
            "DAGSTER_HOME": str(self.home),
            "DESTINATION__DUCKDB__CREDENTIALS": str(self.home / "terminal.duckdb"),
            "DLT_PROJECT_DIR": str(self.home),
        }
        return terminal.show(command, environment, interrupt)

    def open(self, path: str, height: int = HEIGHT, width: int = WIDTH) -> None:
        """Opens a page, in a window of this size."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.goto(path)

    def open_asset(self, key: dg.AssetKey, view: str = "overview", height: int = HEIGHT, width: int = WIDTH) -> None:
        """Opens one of the tabs of an asset's page."""
        self.open(f"/assets/{'/'.join(key.path)}?view={view}", height, width)

    def button(self, name: str) -> Locator:
        """The first button whose name contains this."""
        return self.page.get_by_role("button", name=name).first

    def text(self, text: str) -> Locator:
        """Everything that says just this."""
        return self.page.get_by_text(text, exact=True)

    def picture(self, clip: FloatRect | None = None) -> bytes:
        """The window as PNG, once it has come to rest: charts are drawn stroke by stroke."""
        deadline = time.monotonic() + 10
        # Nothing is lit up because the mouse happens to be on it.
        self.page.mouse.move(0, 0)
        last, current = b"", self.page.screenshot(clip=clip, animations="disabled")
        # Some pages never rest, since they count seconds: then any picture of theirs is as good as the last.
        while current != last and time.monotonic() < deadline:
            last, current = current, self.page.screenshot(clip=clip, animations="disabled")
        return current

    def open_fresh_asset(self, key: dg.AssetKey, height: int = HEIGHT) -> None:
        """Opens the page of an asset, which has to be within its freshness policy."""
        state = self.page.get_by_text(re.compile("^(Passing|Not evaluated)$")).first
        deadline = time.monotonic() + PATIENCE
        # Dagster looks after the policies every half a minute, and a page that is open does not hear of it.
        while time.monotonic() < deadline:
            self.open_asset(key, height=height)
            expect(state).to_be_visible()
            if state.inner_text() == "Passing":
                return
        raise AssertionError(f"{key.to_user_string()} is not evaluated within {PATIENCE} s.")

    def expect_finished_run(self) -> None:
        """Waits on the page of a run until it has ended, which has to be well."""
        end = self.page.get_by_text(re.compile("^(Success|Failure|Canceled)$"))
        expect(end.first).to_be_visible()
        expect(end.first).to_have_text("Success")


def graph_before(tour: Tour) -> bytes:
    # As make dev prints it.
    groups = (NAMES.group, NAMES.derived("reports"), NAMES.upstream_group)
    tour.open(f"/asset-groups?expanded={','.join(f'global@global:{group}' for group in groups)}", TALL)
    page = tour.page
    expect(tour.text(TABLES[-1].path[-1])).to_be_visible()
    tour.button("config").click()
    # Nothing is partitioned, and a materialization is the latest event: without these lines the nodes can be read.
    for line in ("Partitions", "Latest event"):
        page.get_by_role("dialog").get_by_text(line, exact=True).first.click()
    tour.button("Save").click()
    # A graph is made to fit in when it is opened.
    page.reload()
    expect(tour.text("Never materialized")).to_have_count(len(TABLES))
    return tour.picture()


def all_green(tour: Tour) -> bytes:
    tour.button(f"Materialize all ({len(TABLES)})").click()
    # The endpoints as well, because they have been read.
    expect(tour.text("Materialized")).to_have_count(len(TABLES) + len(NAMES.asset_keys()))
    for key in TABLES:
        checks = tour.page.locator(f"a[href='/assets/{'/'.join(key.path)}?view=checks']")
        expect(checks).to_have_text(re.compile(r"(\d+) / \1 Passed"))
    # The notice of the run covers a corner for some seconds.
    expect(tour.page.get_by_text("Launched run")).to_have_count(0)
    return tour.picture()


def finished_run(tour: Tour) -> bytes:
    page = tour.page
    tour.open("/runs")
    page.get_by_role("link", name=re.compile("[0-9a-f]{8}$")).click()
    tour.expect_finished_run()
    expect(page.get_by_text(f"{len(TABLES)} assets")).to_be_visible()
    # Dagster's own events are many. What is left is what the project says.
    tour.button("Levels").click()
    page.get_by_role("menuitem", name="event").click()
    page.keyboard.press("Escape")
    for resource in NAMES.connector.resources:
        expect(page.get_by_text(re.compile(rf"\b{resource.name}\b")).first).to_be_visible()
    return tour.picture()


def lineage(tour: Tour) -> bytes:
    page = tour.page
    # Wide enough for the graph at its largest: whether Dagster makes it fit in, once it has grown, is a matter of luck.
    tour.open_asset(NAMES.upstream_key(SHOWN.name), "lineage", height=720, width=1840)
    tour.button("Downstream").click()
    tour.button("All").click()
    for name in ("api", NAMES.group, *((NAMES.derived("reports"), DOWNSTREAM[0].name) if DOWNSTREAM else ())):
        expect(page.locator("svg").get_by_text(name, exact=True).first).to_be_in_viewport(ratio=1)
    expect(tour.text("Materialized")).to_have_count(2 + len(DOWNSTREAM))
    expect(page.get_by_text("Loading")).to_have_count(0)
    return tour.picture()


def asset_page(tour: Tour) -> bytes:
    page = tour.page
    tour.open_fresh_asset(ASSET, height=1000)
    for heading in ("Description", "Columns", "Owners", "Kinds", "Storage", "Source code"):
        expect(tour.text(heading).first).to_be_visible()
    expect(tour.text(column_name(FIELD)).first).to_be_visible()
    expect(page.get_by_text("data-platform")).to_be_visible()
    return tour.picture()


def launchpad(tour: Tour) -> bytes:
    page = tour.page
    tour.open_asset(ASSET)
    tour.button("Materialize").click(modifiers=["Shift"])
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("No errors")).to_be_visible()
    expect(dialog.locator(".CodeMirror-code")).to_contain_text("mode: incremental")
    materialize = dialog.get_by_role("button", name="Materialize")
    expect(materialize).to_be_enabled()
    picture = tour.picture()
    materialize.click()
    tour.expect_finished_run()
    return picture


def plots(tour: Tour) -> bytes:
    page = tour.page
    tour.open_asset(ASSET, height=1000)
    expect(page.get_by_text("Showing all 2 updates")).to_be_visible()
    rows_loaded = page.get_by_role("row", name=re.compile("^rows_loaded")).get_by_role("cell").last
    # Many at first, and only what is new in the second sync.
    expect(rows_loaded).to_have_text(re.compile(r"^\d{1,2}$"))
    tour.button("Plots").click()
    chart = tour.text("rows_loaded")
    expect(chart).to_be_visible()
    chart.evaluate("element => element.scrollIntoView({block: 'center'})")
    return tour.picture()


def checks(tour: Tour) -> bytes:
    page = tour.page
    tour.open_asset(ASSET, "checks")
    tour.text("primary_key").first.click()
    expect(tour.text("Passed")).to_be_visible()
    expect(page.get_by_text(re.compile("^(Failed|Not Evaluated|Warning)$"))).to_have_count(0)
    return tour.picture()


def automation(tour: Tour) -> bytes:
    page = tour.page
    tour.open("/automation")
    # Beside the name, and not the box before it, which selects the row.
    switches = [page.locator(f"a[href$='/{name}'] ~ * input[type=checkbox]") for name in AUTOMATIONS]
    for switch in switches:
        expect(switch).to_be_enabled()
        expect(switch).not_to_be_checked()
        # The checkbox itself is hidden under the picture of a switch.
        switch.locator("..").click()
        expect(switch).to_be_checked()
    # What Dagster has kept, not what the page hopes.
    page.reload()
    for switch in switches:
        expect(switch).to_be_checked()
    return tour.picture()


def freshness(tour: Tour) -> bytes:
    page = tour.page
    strips = []
    for resource in NAMES.connector.resources:
        if resource.cursor is None:
            continue
        tour.open_fresh_asset(NAMES.asset_key(resource.name))
        strips.append(tour.picture({"x": 240, "y": 0, "width": WIDTH - 240, "height": 236}))
    images = [f'<img src="data:image/png;base64,{base64.b64encode(strip).decode()}">' for strip in strips]
    # A band of grey between them.
    page.set_content(f"<div style='display: inline-grid; gap: 12px; background: #ccc'>{''.join(images)}</div>")
    return page.locator("div").screenshot()


def terminal_live(tour: Tour) -> bytes:
    total = len(NAMES.connector.resources)
    ended = tour.run("sync", lambda screen: screen.count("materialized") >= total // 2)
    assert ended.status == 130, ended
    assert all(resource.name in ended.live for resource in NAMES.connector.resources)
    # One sentence, and no traceback.
    assert ended.last.splitlines()[-1].startswith("Ended by Ctrl-C:"), ended.last
    assert "Traceback" not in ended.last
    return terminal.picture(tour.page, f"{ended.live}^C\n\n{ended.last.partition(chr(10))[2]}", "make demo, and Ctrl-C")


def terminal_table(tour: Tour) -> bytes:
    done = tour.run("sync")
    assert done.status == 0, done
    assert done.last.count("materialized") == len(NAMES.connector.resources)
    return terminal.picture(tour.page, done.last, "make demo")


def terminal_check(tour: Tour) -> bytes:
    done = tour.run("check")
    assert done.status == 0, done
    assert f"{len(NAMES.connector.resources) + 1} of {len(NAMES.connector.resources) + 1} ready." in done.last
    return terminal.picture(tour.page, done.last, "python -m analytics_assets check")


@dataclass(frozen=True)
class Step:
    """A picture of the tour: its file, what there is to see, and how to come to it."""

    name: str
    sentence: str
    walk: Callable[[Tour], bytes]

    @property
    def picture(self) -> Path:
        """The file in the documentation."""
        return PICTURES / f"tour-{self.name}.png"


STEPS = (
    Step(
        "1-graph",
        "The page that `make dev` prints, before the first run: the endpoints of the API, a table for each, and the"
        " reports.",
        graph_before,
    ),
    Step(
        "2-all-green",
        "*Materialize all* loads the tables, evaluates their checks and makes the reports; then everything is green.",
        all_green,
    ),
    Step(
        "3-run",
        "*Runs* has what happened: a step for the tables, the checks and each report, and the log, here less events.",
        finished_run,
    ),
    Step(
        "4-lineage",
        f"From the endpoint `{'/'.join(NAMES.upstream_key(SHOWN.name).path)}` over the table to"
        f" {', '.join(f'the report `{report.name}`' for report in DOWNSTREAM) or 'what reads it'}: who is affected by"
        " what.",
        lineage,
    ),
    Step(
        "5-asset",
        "The page of a table in the *Catalog*: where it comes from, what its columns mean, who owns it, what syncs it.",
        asset_page,
    ),
    Step(
        "6-launchpad",
        "Shift-click *Materialize* for the launchpad: the mode of this run, and the resource `analytics`, whose fields"
        " win over `.dlt` and the environment.",
        launchpad,
    ),
    Step(
        "7-plots",
        "Every materialization leaves numbers, which Dagster plots: the second sync has loaded only what was new.",
        plots,
    ),
    Step("8-checks", "*Checks* look at the table after each sync, and say what they have counted.", checks),
    Step(
        "9-automation",
        "*Automation*, switched on: the hourly sync, the weekly reconcile, and the sensor that refreshes the reports.",
        automation,
    ),
    Step(
        "10-freshness",
        "The incremental tables are as fresh as their policies demand; each says so on its page.",
        freshness,
    ),
    Step(
        "11-terminal-live",
        "`make demo` in a terminal of 80 columns shows the resources live. Ctrl-C ends it and says what is loaded.",
        terminal_live,
    ),
    Step("12-terminal-table", "The next one loads the rest, and says what is next.", terminal_table),
    Step(
        "13-terminal-check",
        "`python -m analytics_assets check` reads two pages of each resource, and says whether a sync would succeed.",
        terminal_check,
    ),
)


@contextmanager
def begin(home: Path) -> Iterator[Tour]:
    """The UI of `dagster dev` in a fresh home, in a browser.

    Raises:
        RuntimeError: There is no browser, or Dagster does not start.
    """
    chromium = find_chromium()
    if chromium is None:
        raise RuntimeError("The tour needs Chromium: apt-get install chromium.")
    with dagster_dev(home) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        page = browser.new_page(base_url=url, locale="en-US", timezone_id="UTC")
        page.set_default_timeout(PATIENCE * 1000)
        expect.set_options(timeout=PATIENCE * 1000)
        commands = home / "commands"
        commands.mkdir()
        shutil.copy(CHECKOUT / "dagster.yaml", commands)
        yield Tour(page, commands)
        browser.close()


def document() -> str:
    """The text of docs/tour.md."""
    lines = [
        "# A tour of the UI and the terminal",
        "",
        "With the demo API and an empty warehouse. `make tour` makes the pictures: it clicks through all this in a",
        "browser of 1440 pixels and runs the commands, and fails if one does not show what is said of it.",
    ]
    for number, step in enumerate(STEPS, 1):
        link = step.picture.relative_to(DOCUMENT.parent).as_posix()
        lines += ["", f"{number}. {step.sentence}", "", f"    ![{step.walk.__name__.replace('_', ' ')}]({link})"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Walks the tour and writes it down."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home, begin(Path(home)) as tour:
        for step in STEPS:
            started = time.monotonic()
            step.picture.write_bytes(step.walk(tour))
            print(f"{step.picture.name}: {time.monotonic() - started:.0f} s", flush=True)
    DOCUMENT.write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main()
