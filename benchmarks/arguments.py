"""What the command lines of the measurements have in common."""

import argparse


def at_least_one(text: str) -> int:
    """The type of an argument that counts. Of no rounds and no rows an empty table would be written into the document.

    Raises:
        ArgumentTypeError: It is no number, or less than 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)
