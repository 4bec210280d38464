"""Tests in a child process of their own, where limits can be lowered and nobody else feels it."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_DEADLINE_SECONDS: Final = 120.0
_USER_NAMESPACE: Final = ["unshare", "--user", "--map-root-user"]


def confined(function: Callable[[Path], None]) -> Callable[[Path], None]:
    """Run a test function of `tmp_path` in a child process with limits of its own.

    The child is in a user namespace, where `limit` may be called; where there are none, the test
    is skipped.
    """

    @functools.wraps(function)
    def test(tmp_path: Path) -> None:
        if subprocess.run([*_USER_NAMESPACE, "true"], capture_output=True, check=False).returncode:
            pytest.skip("user namespaces are not allowed here")
        program = (
            f"import pathlib, sys; from {function.__module__} import {function.__name__} as test; "
            "test.__wrapped__(pathlib.Path(sys.argv[1]))"
        )
        done = subprocess.run(
            [*_USER_NAMESPACE, sys.executable, "-c", program, str(tmp_path)],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": _ROOT},
            capture_output=True,
            text=True,
            check=False,
            timeout=_DEADLINE_SECONDS,
        )
        assert done.returncode == 0, done.stderr

    return test


def limit(what: str, amount: int) -> None:
    """Set a limit of this user namespace: `max_inotify_watches`, `max_inotify_instances`."""
    with open(f"/proc/sys/user/{what}", "w", encoding="ascii") as file:
        file.write(str(amount))
