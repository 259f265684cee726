"""What a test needs of the machine."""

import os
from typing import NoReturn

import pytest


def absent(reason: str) -> NoReturn:
    """Skips a test for want of something that CI has to have."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
