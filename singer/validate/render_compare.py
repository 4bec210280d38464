"""What was compared, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from singer.validate.compare import Audited, Comparison, Volume
from singer.validate.findings import Places
from singer.validate.render import plain_places, where

_SHOWN = 5
_QUANTILES = (0.5, 0.9, 0.99, 1.0)


def plain(found: Comparison) -> dict[str, object]:
    """As JSON values."""
    return {
        "same": found.same,
        "a": _plain_volume(found.a.name, found.volumes[0]),
        "b": _plain_volume(found.b.name, found.volumes[1]),
        "missing": plain_places(found.missing),
        "extra": plain_places(found.extra),
        "repeated_in_a": plain_places(found.repeated_a),
        "repeated_in_b": plain_places(found.repeated_b),
        "corrupted": [
            {
                "a": {"partition": pair.a[0], "offset": pair.a[1]},
                "b": {"partition": pair.b[0], "offset": pair.b[1]},
            }
            for pair in found.corrupted
        ],
        "by_audit": [
            {
                "host": host,
                "stream": stream,
                "records": [each.records_a, each.records_b],
                "only_in_a": [_plain_gap(gap) for gap in each.only_a],
                "only_in_b": [_plain_gap(gap) for gap in each.only_b],
                "milliseconds_to_acknowledgement": [_quantiles(side) for side in each.latency_ms],
            }
            for (host, stream), each in sorted(found.audited.items())
        ],
    }


def _plain_volume(name: str, volume: Volume) -> dict[str, object]:
    return {
        "topic": name,
        "records": volume.records,
        "partitions": volume.partitions,
        "bytes": volume.nbytes,
        "wire_bytes": volume.wire_bytes,
        "compression_ratio": round(volume.ratio, 2),
        "records_of_known_order": volume.known_order,
        "inversions": volume.inversions,
        "ids_again": volume.again,
    }


def _plain_gap(gap: tuple[str, int, int]) -> dict[str, object]:
    return dict(zip(("file", "start", "end"), gap, strict=True))


def _quantiles(side: Sequence[tuple[int, int]]) -> dict[str, int]:
    """Weighted by records."""
    ordered = sorted(side)
    total = sum(records for _, records in ordered)
    found: dict[str, int] = {}
    for quantile in _QUANTILES:
        seen = 0
        for took, records in ordered:
            seen += records
            if seen >= quantile * total:
                found["max" if quantile == 1.0 else f"p{quantile * 100:.0f}"] = took
                break
    return found


def lines(found: Comparison) -> Iterator[str]:
    """Short tables, and where the differences are."""
    if any(volume.partitions for volume in found.volumes):
        yield from _volumes(found)
        for name, places in (
            (f"missing in {found.b.name}", found.missing),
            (f"only in {found.b.name}", found.extra),
            (f"more often in {found.a.name}", found.repeated_a),
            (f"more often in {found.b.name}", found.repeated_b),
        ):
            yield from where(name, places)
        for pair in found.corrupted[:_SHOWN]:
            yield (
                f"corrupted: {found.a.name} [{pair.a[0]}] offset {pair.a[1]} is another record at "
                f"{found.b.name} [{pair.b[0]}] offset {pair.b[1]}"
            )
    for (host, stream), each in sorted(found.audited.items()):
        yield from _audited(host, stream, each, found)
    yield "same" if found.same else "DIFFERENT"


def _volumes(found: Comparison) -> Iterator[str]:
    yield "TOPIC\tRECORDS\tBYTES\tWIRE_BYTES\tRATIO\tPARTITIONS\tORDER"
    for side, volume in zip((found.a, found.b), found.volumes, strict=True):
        order = f"{volume.inversions} inversions" if volume.known_order else "not known"
        yield (
            f"{side.name}\t{volume.records}\t{volume.nbytes}\t{volume.wire_bytes}\t"
            f"{volume.ratio:.2f}\t{volume.partitions}\t{order}"
        )
    rows: tuple[tuple[str, Places | int], ...] = (
        ("missing", found.missing),
        ("extra", found.extra),
        ("repeated in A", found.repeated_a),
        ("repeated in B", found.repeated_b),
        ("corrupted", len(found.corrupted)),
    )
    yield ", ".join(
        f"{name}: {value if isinstance(value, int) else value.records}" for name, value in rows
    )


def _audited(host: str, stream: str, each: Audited, found: Comparison) -> Iterator[str]:
    took = [
        ", ".join(f"{name} {ms} ms" for name, ms in _quantiles(side).items())
        for side in each.latency_ms
    ]
    yield (
        f"{host} {stream}: {each.records_a} records in {found.a.name} ({took[0]}), "
        f"{each.records_b} in {found.b.name} ({took[1]})"
    )
    for side, gaps in ((found.a, each.only_a), (found.b, each.only_b)):
        for file, start, end in gaps[:_SHOWN]:
            yield f"{host} {stream}: only in {side.name}: bytes {start} to {end} of {file}"
        if len(gaps) > _SHOWN:
            yield f"{host} {stream}: only in {side.name}: and {len(gaps) - _SHOWN} more stretches"
