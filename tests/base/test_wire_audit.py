"""Audit messages, against the protobuf library with the schema of docs/audit.md."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singer.base.errors import InputError
from singer.base.wire.audit import Account, Audit, File, Range, decode, encode
from tests.support.audit_schema import schema

_uints = st.integers(0, (1 << 63) - 1)
_sints = st.integers(-(1 << 63), (1 << 63) - 1)
_files = st.builds(
    File,
    stream=st.text(max_size=5),
    destination=st.text(max_size=5),
    path=st.binary(max_size=9),
    device=st.integers(0, (1 << 64) - 1),
    inode=st.integers(0, (1 << 64) - 1),
    birth_ns=_sints,
    row=_uints,
    first_seen_ns=_sints,
)


@st.composite
def _ranges(draw: st.DrawFn) -> Range:
    start, block = draw(st.integers(0, 1 << 40)), draw(st.integers(1, 200))
    runs = draw(st.lists(st.integers(1, 1 << 20), max_size=4).filter(lambda r: len(r) % 2 == 1))
    records = sum(runs[::2])
    blocks = -(-records // block) if records < 3000 else 0
    if not blocks:
        runs, records, block = [7], 7, 7
        blocks = 1
    return Range(
        file=0,
        start=start,
        end=start + draw(st.integers(0, 1 << 40)),
        records=records,
        nbytes=draw(_uints),
        offset=draw(st.integers(0, 1 << 60)),
        runs=tuple(runs),
        block=block,
        digests=tuple(
            draw(st.lists(st.integers(0, (1 << 64) - 1), min_size=blocks, max_size=blocks))
        ),
        read_ms=draw(_sints),
        acknowledged_ms=draw(_sints),
        displaced=draw(st.booleans()),
    )


_accounts = st.builds(
    Account,
    start=st.just(3),
    end=st.integers(3, 1 << 62),
    delivered=_uints,
    filtered=_uints,
    sampled=_uints,
    dead_lettered=_uints,
    skipped=_uints,
    records=_uints,
    unknown=st.booleans(),
)
_audits = st.builds(
    Audit,
    host=st.text(max_size=9),
    zone=st.text(max_size=9),
    run=st.text(max_size=9),
    written_ms=_sints,
    cluster=st.text(max_size=9),
    files=st.lists(_files, min_size=1, max_size=3).map(tuple),
    topic=st.text(max_size=9),
    partition=st.integers(0, 1 << 30),
    ranges=st.lists(_ranges(), max_size=3).map(tuple),
    accounts=st.lists(_accounts, max_size=3).map(tuple),
)


@given(_audits)
def test_what_is_written_is_what_the_schema_says_and_is_read_again(audit: Audit) -> None:
    value = encode(audit)
    assert decode(value) == audit
    read = schema().FromString(value)
    for name, expected in asdict(audit).items():
        found = getattr(read, name)
        if isinstance(expected, tuple):
            assert len(found) == len(expected)
            for one, fields in zip(found, expected, strict=True):
                for field, content in fields.items():
                    there = getattr(one, field)
                    assert (tuple(there) if isinstance(content, tuple) else there) == content
        else:
            assert found == expected
    assert decode(read.SerializeToString()) == audit  # written by others, read by us


@given(_audits, st.data())
def test_a_message_that_is_cut_off_is_refused_or_says_less(
    audit: Audit, data: st.DataObject
) -> None:
    value = encode(audit)
    cut = value[: data.draw(st.integers(0, max(0, len(value) - 1)))]
    try:
        assert decode(cut) != audit or cut == value
    except InputError as error:
        assert str(error).startswith("read audit message: ")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_a_reason_or_read(value: bytes) -> None:
    try:
        decode(value)
    except InputError as error:
        assert str(error).startswith("read audit message: ")


def test_fields_of_later_versions_are_passed_over_and_later_messages_refused() -> None:
    audit = Audit(host="a", files=(File(stream="s"),))
    more = b"\xfa\x01\x03abc" + b"\xf8\x01\x05" + b"\xf9\x01" + b"8" * 8  # field 31, of each type
    assert decode(encode(audit) + more) == audit
    with pytest.raises(InputError, match="its version is 2, known is up to 1"):
        decode(encode(Audit(version=2)))


@pytest.mark.parametrize(
    "wrong",
    [
        Range(file=1, end=1, records=1, runs=(1,), block=128, digests=(1,)),
        Range(start=5, end=1, records=1, runs=(1,), block=128, digests=(1,)),
        Range(records=2, runs=(1,), block=128, digests=(1,)),
        Range(records=2, runs=(1, 5), block=128, digests=(1,)),
        Range(records=2, runs=(2, 5, 0), block=128, digests=(1,)),
        Range(records=2, runs=(2,), block=1, digests=(1,)),
        Range(records=2, runs=(2,), block=0, digests=(1,)),
        Range(records=2, offset=-1, runs=(2,)),
        Range(records=2, offset=(1 << 63) - 2, runs=(2,), block=2, digests=(1,)),
    ],
)
def test_what_contradicts_itself_is_refused(wrong: Range) -> None:
    with pytest.raises(InputError, match="read audit message"):
        decode(encode(Audit(files=(File(),), ranges=(wrong,))))
