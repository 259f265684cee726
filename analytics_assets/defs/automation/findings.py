"""What is known of a thing that is watched: whether it is wrong, and whether people know.

The modules beside this one find out, each for one kind of thing. A thing that they leave out is in an unknown state,
such as a check that is being evaluated: what was told of it stays as it is.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

GRACE = timedelta(minutes=2)
"""How late something may be before it counts as late, such as the tick of a schedule."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one thing that is watched."""

    wrong: bool
    says: str
    """A sentence or two for people: what is wrong and what to do, or that it is no longer wrong."""
    told: bool
    """Whether people know it as wrong."""

    @property
    def is_news(self) -> bool:
        """Whether people know otherwise."""
        return self.wrong != self.told


Findings = Mapping[str, Finding]
"""By the key of the thing."""


def minute(at: datetime) -> str:
    """A point in time for people."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def remember(told: Set[str], news: Findings) -> set[str]:
    """The keys of what people know as wrong, after they were told the news."""
    wrong = {key for key, finding in news.items() if finding.wrong}
    return {*told, *wrong} - (news.keys() - wrong)
