"""The command line of the benchmark: what would empty the document of its measurements is refused."""

import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import harness
from benchmarks.__main__ import main, parse


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--rounds", "0"], "argument --rounds: '0' is not a number from 1 on"),
        (["--slow-rounds", "0"], "argument --slow-rounds: '0' is not a number from 1 on"),
        (["--divide", "-5"], "argument --divide: '-5' is not a number from 1 on"),
        (["--in-flight", "many"], "argument --in-flight: 'many' is not a number from 1 on"),
        (["--estimate", "--divide", "2"], "--estimate knows how long all rows take: leave --divide out"),
        (["--peers", "--only", "scale"], "--peers measures first20 and first1000, and --only names neither of them"),
    ],
)
def test_of_what_cannot_be_measured_the_command_line_says_why(
    given: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(given)
    assert says in capsys.readouterr().err


def test_an_estimate_installs_nothing_and_says_that_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--peers", "--estimate"])
    monkeypatch.setattr(command, "STORED", tmp_path / "results.json")
    monkeypatch.setattr(harness, "prepare", asked.append)
    assert main() == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "How long it takes is not known: nothing was measured on this machine before." in said
    assert "ingestr: cannot read an API that it does not ship" in said
    assert not asked
