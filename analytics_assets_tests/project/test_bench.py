"""The command line of the benchmark: what would empty the document of its measurements is refused."""

import pytest

from benchmarks.__main__ import parse


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--rounds", "0"], "argument --rounds: '0' is not a number from 1 on"),
        (["--slow-rounds", "0"], "argument --slow-rounds: '0' is not a number from 1 on"),
        (["--divide", "-5"], "argument --divide: '-5' is not a number from 1 on"),
        (["--in-flight", "many"], "argument --in-flight: 'many' is not a number from 1 on"),
        (["--peers", "--only", "scale"], "--peers measures first20 and first1000, and --only names neither of them"),
    ],
)
def test_of_what_cannot_be_measured_the_command_line_says_why(
    given: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(given)
    assert says in capsys.readouterr().err
