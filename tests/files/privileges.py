"""What this process may do to permissions and owners, and giving that up for a while."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Final

import pytest

#: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
_IGNORING_PERMISSIONS: Final = 0b110
_LINUX_CAPABILITY_VERSION_3: Final = 0x20080522
#: A user that is neither root nor, in all likelihood, the one that runs the tests.
STRANGER: Final = 65533


def reads_everything() -> bool:
    """Whether this process reads files and directories whatever their permissions say."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        line = next(line for line in status if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) & _IGNORING_PERMISSIONS)


needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not reads_everything(), reason="only root may give files away"
)


@contextlib.contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Meanwhile this thread, and those it starts, read only what the permissions let them.

    Root reads everything by two capabilities. They are set aside (capset(2)) and taken up again.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    had, less = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    _call(libc.capget, header, had)
    less[:] = had
    less[0] &= ~_IGNORING_PERMISSIONS  # effective; what is permitted stays, to come back to
    _call(libc.capset, header, less)
    try:
        yield
    finally:
        _call(libc.capset, header, had)


def _call(function: ctypes._CFuncPtr, header: ctypes.Array, data: ctypes.Array) -> None:
    if function(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capget or capset")
