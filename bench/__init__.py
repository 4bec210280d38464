"""Measurements against kcat on the machine at hand: `python -m bench --help`.

Nothing here is imported by Singer. Modules other than the children's (`broker`, `probe`) use
the standard library only: a child's peak memory begins with that of the process it is forked
from.
"""
