"""A section of docs/operations.md, made from the table: `python -m singer.kafka.error_reference
FILE` writes it into FILE, between its marks.
"""

from __future__ import annotations

import sys
from typing import Final

from singer.kafka import errors
from singer.kafka.error_table import TABLE, TREATMENTS, UNMET, ErrorClass, Row

BEGIN: Final = "<!-- Made by `make docs` from singer/kafka/error_table.py. Do not edit. -->\n"
END: Final = "<!-- The end of what `make docs` makes. -->\n"


def update(page: str) -> str:
    """The page with the section of now. Raises ValueError without the marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the marks {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}{generate()}{END}{after}"


def generate() -> str:
    """The section: each class, what is done about it, and its codes."""
    return "".join([*(_class(error_class) for error_class in ErrorClass), _unmet()])


def _class(error_class: ErrorClass) -> str:
    treatment = TREATMENTS[error_class]
    rows = "".join(_row(row, treatment.operator) for row in TABLE[error_class])
    return (
        f"\n### Class {error_class.value}\n\n{treatment.agent}\n\n"
        f"| Code | Name | librdkafka says | What to do |\n|---|---|---|---|\n{rows}"
    )


def _row(row: Row, default: str) -> str:
    return f"| {row.code} | `{row.name}` | {errors.words(row.code)} | {row.advice or default} |\n"


def _unmet() -> str:
    lines = []
    names = errors.codes()
    for reason, codes in UNMET.items():
        shown = ", ".join(f"`{names[code]}` ({code})" for code in codes)
        lines.append(f"- Those that {reason}: {shown}\n")
    return (
        "\n### In no class\n\nThese are never an answer to the agent. Should one come all the same,"
        " or one that this version does not know, it is treated as class connection.\n\n"
        f"{''.join(lines)}\n"
    )


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        old = file.read()
    new = update(old)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(new)
