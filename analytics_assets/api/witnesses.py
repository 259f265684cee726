"""Rows that show whether an edit moves a row in its listing.

Rows that nobody has edited are in the order of their cursor in a listing by id, too. An edit then changes the cursor of
a row in the old part, where no sync would look for it. So a listing of such rows is read whole until one of a few known
rows has been edited, and has moved past another.
"""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

MOST_WITNESSES = 100
"""Rows that are remembered. They stand in the state of the resource."""


class Witnesses:
    """Finds the rows that the last whole reading has remembered, and remembers some for the next.

    Args:
        before: The cursor values of those rows, by key.
    """

    def __init__(self, before: Mapping[str, int]) -> None:
        self._before = before
        self._keys = pa.array(before, pa.string())
        self._found: dict[str, int] = {}
        self._sample: list[tuple[str, int]] = []
        self._every = 1
        self._rows = 0

    def take(self, keys: "pa.ChunkedArray", at: "pa.ChunkedArray") -> None:
        """Takes the keys and cursor values of rows, in the order of the listing."""
        known = pc.is_in(keys, self._keys)
        self._found |= zip(keys.filter(known).to_pylist(), at.filter(known).to_pylist(), strict=True)
        chosen = pa.array(range(-self._rows % self._every, len(keys), self._every), pa.int64())
        self._sample += zip(keys.take(chosen).to_pylist(), at.take(chosen).to_pylist(), strict=True)
        self._rows += len(keys)
        while len(self._sample) > MOST_WITNESSES:
            self._sample, self._every = self._sample[::2], 2 * self._every

    def has_moved(self, disorder_before: int, disorder: int) -> bool:
        """Whether a row has been edited, and has moved past one that was not.

        Args:
            disorder_before: The most by which rows of the last whole reading were out of order.
            disorder: The most by which those of this one are.
        """
        edited = [(self._before[key], at) for key, at in self._found.items() if at > self._before[key]]
        others = [at for key, at in self._found.items() if at == self._before[key]]
        return any(before + disorder_before < at < now - disorder for before, now in edited for at in others)

    def remember(self) -> dict[str, int]:
        """Returns the rows to look for in the next whole reading: those that were found, and others."""
        return dict([*self._found.items(), *self._sample][:MOST_WITNESSES])
