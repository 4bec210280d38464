"""Whether permissions mean anything to this process."""

from __future__ import annotations

from typing import Final

#: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
_IGNORING_PERMISSIONS: Final = 0b110


def reads_everything() -> bool:
    """Whether this process reads files and directories whatever their permissions say."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        line = next(line for line in status if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) & _IGNORING_PERMISSIONS)
