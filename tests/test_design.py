"""docs/design.md names tests and modules: they exist, and none of the cases is left out."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


def section(heading):
    """What is under a heading, to the next one of the same rank or a higher one."""
    rank = heading.index(" ")
    rest = DESIGN.split(f"\n{heading}\n")[1]
    return re.split(rf"^#{{1,{rank}}} ", rest, flags=re.MULTILINE)[0]


def rows(text):
    """The cells of all rows of all tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {n - 1 for n, row in enumerate(cells) if set(row[0]) == {"-"}}
    return [row for n, row in enumerate(cells) if n not in heads and set(row[0]) != {"-"}]


def named_tests():
    """(file, test) of all tests that the table of cases names."""
    found = []
    for row in rows(section("### What happens when")):
        file = ""
        for path, name in re.findall(r"`([\w/]*(?:\.py)?)::(\w+)`", row[-1]):
            file = path or file
            found.append((file, name))
    return found


def defined_in(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_is_named_exists():
    named = named_tests()
    known = {file: defined_in(TESTS / file) for file, _ in named if (TESTS / file).is_file()}
    assert [each for each in named if each[1] not in known.get(each[0], ())] == []
    assert len(named) > 150


def test_every_case_is_in_the_table():
    named = set(named_tests())
    cases = {
        (f"cases/{path.name}", name)
        for path in (TESTS / "cases").glob("test_*.py")
        for name in defined_in(path)
        if name.startswith("test_")
    }
    assert cases - named == set()


def test_every_case_has_a_guarantee_and_a_test_or_is_still_to_come():
    table = rows(section("### What happens when"))
    assert [row for row in table if len(row) != 3] == []
    without = [row for row in table if "::" not in row[2] and not row[1].startswith("comes with")]
    assert without == []


def test_the_modules_that_are_named_are_those_that_are_there():
    named = [
        name for row in rows(section("## The house")) for name in re.findall(r"`(\S+)`", row[0])
    ]
    there = [
        path.name if path.is_file() else f"{path.name}/"
        for path in (ROOT / "singer").iterdir()
        if not path.name.startswith("_")
    ]
    assert sorted(named) == sorted(there)
