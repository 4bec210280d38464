"""Reading a small file that a person named: a configuration, a secret, a zone.

Never waits for a FIFO's writer, never reads a device for ever, and says in one phrase what is
wrong. For log files see `files`.
"""

from __future__ import annotations

import os
import stat
from typing import Final

_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a fifo"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_small_file(path: str, max_bytes: int) -> bytes:
    """The whole contents of the regular file `path`, symbolic links followed.

    Raises ValueError with a phrase that fits behind the path: `no such file`, `is a directory,
    not a file`, `permission denied`, `is larger than 1048576 bytes`.
    """
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes would otherwise wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                kind = next((name for test, name in _KINDS if test(mode)), "a special file")
                raise ValueError(f"is {kind}, not a file")
            data = bytearray()
            while len(data) <= max_bytes and (part := os.read(descriptor, 1 << 16)):
                data += part
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise ValueError("no such file") from error
    except OSError as error:
        raise ValueError((error.strerror or str(error)).lower()) from error
    if len(data) > max_bytes:
        raise ValueError(f"is larger than {max_bytes} bytes")
    return bytes(data)
