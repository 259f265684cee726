"""How many requests came in one second."""

from collections import deque
from collections.abc import Iterable


def busiest_second(times: Iterable[float]) -> int:
    """The most requests in any second, which need not begin with the clock's."""
    within: deque[float] = deque()
    most = 0
    for moment in sorted(times):
        within.append(moment)
        while within[0] <= moment - 1:
            within.popleft()
        most = max(most, len(within))
    return most
