"""Who this host is, where the configuration does not say so."""

from __future__ import annotations

import contextlib
import socket


def host_id() -> str:
    """The machine id; the host's name where there is none."""
    with contextlib.suppress(OSError), open("/etc/machine-id", encoding="ascii") as file:
        if machine_id := file.read().strip():
            return machine_id
    return socket.gethostname()
