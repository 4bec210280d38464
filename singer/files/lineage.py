"""Lineage: to which path of a stream a rotated file belongs, going by names alone. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator

from singer.files.siblings import is_sibling, may_be_rotated


def bases(path: str) -> Iterator[str]:
    """The paths that `path` is a rotated name of, longest first."""
    if not may_be_rotated(path):
        return
    directory, name = os.path.split(path)
    for cut in range(len(name) - 1, 0, -1):
        if name[cut] in ".-":
            base = os.path.join(directory, name[:cut])
            if is_sibling(path, base):
                yield base


def lineage_of(
    path: str,
    paths: Collection[str],
    *,
    rotated_dirs: Collection[str] = (),
    is_rotated: Callable[[str], bool] = lambda _: False,
) -> str | None:
    """Which of `paths` the file at `path` is a rotated file of; None: of none.

    In a directory of `rotated_dirs` the names count, wherever the path is. A name that only a
    glob of `rotated` makes one of ours goes to the path beside it with the most similar name.
    """
    directory, name = os.path.split(path)
    if directory in rotated_dirs:
        by_name = {os.path.basename(candidate): candidate for candidate in sorted(paths)}
        found = next((by_name[base] for base in bases(name) if base in by_name), None)
    else:
        found = next((base for base in bases(path) if base in paths), None)
    if found is None and paths and is_rotated(path):
        beside = [p for p in sorted(paths) if os.path.dirname(p) == directory] or sorted(paths)
        return max(beside, key=lambda p: _shared(os.path.basename(p), name))
    return found


def _shared(one: str, other: str) -> int:
    """How many first characters two names share."""
    return len(os.path.commonprefix([one, other]))  # noqa: RUF071  # characters are meant
