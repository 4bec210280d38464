"""Each fuzz target for a while, always with the same files."""

import pytest

from tests.fuzz.check import run
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_accounted_for_however_they_are_cut(name):
    for seed in range(300):
        run(name, seed)
