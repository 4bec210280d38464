"""Small files that are either the old or the new one, whatever happens: write, sync, rename.

Pure functions over paths; any thread that may block. Errors are OSErrors: the caller knows the
step and translates them.
"""

from __future__ import annotations

import os


def sync_directory(path: str) -> None:
    """Make the names in directory `path` durable: a rename alone may be undone by power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: str) -> None:
    """Make the contents of the file `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_into_place(source: str, target: str) -> None:
    """Sync `source` and rename it to `target` (same directory), durably."""
    sync_file(source)
    os.rename(source, target)
    sync_directory(os.path.dirname(target) or ".")


def replace_file(path: str, data: bytes) -> None:
    """Let `path` hold exactly `data`; a reader sees the old contents or the new, never a mix."""
    temporary = f"{path}.tmp"
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    move_into_place(temporary, path)
