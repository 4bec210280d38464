"""What was verified, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from singer.validate.findings import Findings, Owner, Place, Places
from singer.validate.verify import Report

#: Places named for each kind in the text form; JSON has more.
_SHOWN: Final = 5


def plain(report: Report) -> dict[str, object]:
    """As JSON values."""
    return {
        "ok": report.ok,
        "audit_topic": report.audit_topic,
        "audit_messages": report.messages,
        "unreadable_messages": report.unreadable,
        "records_read": report.records,
        "absent": report.absent,
        "destinations": [_plain(owner, found) for owner, found in sorted(report.findings.items())],
        "unclaimed": {topic: plain_places(places) for topic, places in report.unclaimed.items()},
    }


def _plain(owner: Owner, found: Findings) -> dict[str, object]:
    return {
        "host": owner.host,
        "stream": owner.stream,
        "destination": owner.destination,
        "verified": found.verified,
        "unverified": found.unverified,
        "lost": plain_places(found.lost),
        "expired": found.expired,
        "corrupted": plain_places(found.corrupted),
        "duplicated": plain_places(found.duplicated),
        "sent_again": found.again,
        "reordered": plain_places(found.reordered),
        "displaced": found.displaced,
        "claimed_twice": plain_places(found.claimed_twice),
        "late": found.late,
        "malformed": found.malformed,
        "without_range": found.without_range,
        "bytes": {
            "accounted": found.accounted_bytes,
            "skipped": found.skipped_bytes,
            "unknown": found.unknown_bytes,
            "missing": found.missing_bytes,
        },
        "missing": [each._asdict() for each in found.missing],
    }


def plain_places(places: Places) -> dict[str, object]:
    """Places as JSON values."""
    return {
        "records": places.records,
        "places": [each._asdict() for each in places.places],
        "unnamed_places": places.unnamed,
    }


def lines(report: Report) -> Iterator[str]:
    """A table, and below it where faults are."""
    yield from _table(report)
    for owner, found in sorted(report.findings.items()):
        for name, places in (
            ("lost", found.lost),
            ("corrupted", found.corrupted),
            ("reordered", found.reordered),
            ("claimed twice", found.claimed_twice),
            ("duplicated", found.duplicated),
        ):
            yield from where(f"{owner.host} {owner.stream} {owner.destination}: {name}", places)
        for missing in found.missing[:_SHOWN]:
            yield (
                f"{owner.host} {owner.stream} {owner.destination}: missing: bytes {missing.start}"
                f" to {missing.end} of {missing.path}"
            )
    for topic, places in sorted(report.unclaimed.items()):
        yield from where(f"{topic}: nobody claims", places)
    for absent in report.absent:
        yield f"absent: {absent}"
    if report.unreadable:
        yield f"{report.audit_topic}: {report.unreadable} messages are none: {report.cause}"
    verdict = "ok" if report.ok else "FAULTS FOUND"
    yield f"{verdict}: {report.records} records, {report.messages} audit messages"


_COLUMNS: Final = (
    "HOST",
    "STREAM",
    "DESTINATION",
    "VERIFIED",
    "UNVERIFIED",
    "LOST",
    "CORRUPTED",
    "REORDERED",
    "DUPLICATED",
    "LATE",
    "MISSING_BYTES",
    "SKIPPED_BYTES",
)


def _table(report: Report) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for owner, found in sorted(report.findings.items()):
        numbers = (
            found.verified,
            found.unverified + found.without_range,
            found.lost.records,
            found.corrupted.records,
            found.reordered.records,
            found.duplicated.records + found.again,
            found.late,
            found.missing_bytes,
            found.skipped_bytes,
        )
        rows.append((*owner, *map(str, numbers)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(f"{cell:<{width}}" for cell, width in cells).rstrip()


def where(what: str, places: Places) -> Iterator[str]:
    """The first places, a line each."""
    for place in places.places[:_SHOWN]:
        yield f"{what}: {_offsets(place)}"
    more = len(places.places) - _SHOWN + places.unnamed
    if more > 0:
        yield f"{what}: and {more} more places, {places.records} records in all"


def _offsets(place: Place) -> str:
    last = place.end - 1
    offsets = f"offset {place.first}" if place.first == last else f"offsets {place.first} to {last}"
    return f"{place.topic} [{place.partition}] {offsets}"
