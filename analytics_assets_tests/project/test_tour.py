"""The UI as people meet it, in a real browser."""

from pathlib import Path

import pytest

from analytics_assets_tests.support.dagster_dev import find_chromium
from analytics_assets_tests.support.needs import absent
from tools.tour import PICTURES, STEPS, begin


@pytest.mark.slow
def test_the_tour_through_the_ui_shows_what_is_said_of_it(tmp_path: Path) -> None:
    if find_chromium() is None:
        absent("no Chromium on this machine: install Debian's chromium, or Google Chrome")
    with begin(tmp_path) as tour:
        for step in STEPS:
            assert step.walk(tour)


def test_each_step_has_its_picture() -> None:
    assert sorted(PICTURES.glob("tour-*")) == sorted(step.picture for step in STEPS)
