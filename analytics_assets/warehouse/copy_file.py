"""Copies a file to standard output. `read_copy` runs it as a process of its own, by its path: it imports no package."""

import os
import sys

CHUNK = 1 << 20
"""Bytes that are read at once where the system does not copy by itself."""


def copy_file(path: str, target: int) -> None:
    """Copies a file, inside the file system where that can: some share the blocks of both files and copy nothing.

    Args:
        path: The file.
        target: Descriptor of an empty file. The copy is written from its position on.

    Raises:
        OSError: The file cannot be read, or the target cannot be written to.
    """
    with open(path, "rb", buffering=0) as source, open(target, "wb", closefd=False) as written:  # noqa: PTH123 - no Path is needed
        try:
            while os.copy_file_range(source.fileno(), target, 1 << 30):
                pass
        except (AttributeError, OSError):
            # Not Linux, or not between these file systems. A full disk is an error of the next lines, too.
            pass
        while piece := source.read(CHUNK):
            written.write(piece)


if __name__ == "__main__":
    try:
        copy_file(sys.argv[1], sys.stdout.fileno())
    except OSError as error:
        sys.exit(str(error.errno))
