"""What this process may do to permissions and owners."""

from __future__ import annotations

import os
from typing import Final

import pytest

#: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
_IGNORING_PERMISSIONS: Final = 0b110
#: A user that is neither root nor, in all likelihood, the one that runs the tests.
STRANGER: Final = 65533

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


def reads_everything() -> bool:
    """Whether this process reads files and directories whatever their permissions say."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        line = next(line for line in status if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) & _IGNORING_PERMISSIONS)
