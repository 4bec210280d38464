"""Lines of other encodings, against Python's own decoding of whole files."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singer.base.config import ByteSize, MultilineReaderConfig, Oversize, Regex, TextReaderConfig
from singer.base.ports import State
from singer.readers.encoding import Encoding
from singer.readers.making import make

CODECS = ["utf-16le", "utf-16be", "utf-32le", "utf-32be", "latin-1", "cp1252", "utf-8", "shift_jis"]


def read(data, cuts=(), config=None, *, last=State.FINAL, **options):
    """Records, as a file grows; every byte is a record's, a terminator's or given up."""
    one = make(config or TextReaderConfig(**options))
    records, ends, bad, at, scanned, resume = [], [], [], 0, 0, b""
    for stop in [*sorted(cuts), len(data)]:
        for state in [State.MORE, last] if stop == len(data) else [State.MORE]:
            window = np.frombuffer(data[at:stop], np.uint8)
            framed = one.frame(window, at, state, scanned=scanned, resume=resume)
            records += [framed.batch.payload(row) for row in range(len(framed.batch))]
            ends += framed.batch.ends.tolist()
            bad += [(each.start, each.end) for each in framed.bad]
            at += framed.consumed
            scanned, resume = framed.scanned - framed.consumed, framed.resume
    assert ends == sorted(ends)
    assert at == len(data) or last is State.MORE
    return records, ends, bad


@pytest.mark.parametrize("codec", CODECS)
def test_lines_become_utf8_however_they_are_cut(codec):
    text = "one\n\nzwei\r\nend" if codec == "shift_jis" else "öne\n\nzwei ÿ\r\nend"
    data = text.encode(codec)
    lines = text.split("\n")
    for cuts in [], range(len(data)), range(0, len(data), 3):
        records, ends, bad = read(data, cuts, encoding=codec)
        assert records == [line.encode() for line in lines]
        assert ends[-1] == len(data)
        assert not bad
        records, _, _ = read(data, cuts, encoding=codec, crlf=True)
        assert records == [line.removesuffix("\r").encode() for line in lines]


@pytest.mark.parametrize("codec", ["utf-16le", "utf-16be", "utf-32le", "utf-32be", "utf-8"])
def test_a_mark_at_the_beginning_of_a_file_is_no_content(codec):
    data = "\ufeffone\n\ufefftwo\n".encode(codec)
    assert read(data, encoding=codec)[0] == [b"one", "\ufefftwo".encode()]
    assert read("\ufeff\n".encode(codec), encoding=codec)[0] == [b""]
    assert read("\ufeffone\n".encode())[0] == ["\ufeffone".encode()]  # byte by byte


def test_half_a_code_unit_waits_for_its_rest_even_if_nothing_comes():
    data = "a€b\n".encode("utf-16le")
    one = make(TextReaderConfig(encoding="utf-16le"))
    quiet = one.frame(np.frombuffer(data[:3], np.uint8), 0, State.QUIET)
    assert ([quiet.batch.payload(row) for row in range(len(quiet.batch))], quiet.consumed) == (
        [b"a"],
        2,
    )
    rest = one.frame(np.frombuffer(data[2:], np.uint8), 2, State.MORE)
    assert [rest.batch.payload(0), rest.consumed] == ["€b".encode(), 6]
    half = one.frame(np.frombuffer(data[:1], np.uint8), 0, State.QUIET)
    assert (len(half.batch), half.consumed) == (0, 0)


def test_a_newline_byte_in_another_character_is_no_newline():
    text = "\u0a00\u0a0a\u000b\n\u010a.\n"
    assert read(text.encode("utf-16le"), encoding="utf-16le")[0] == [
        line.encode() for line in text.split("\n")[:2]
    ]


def test_what_cannot_be_decoded_is_replaced_and_its_neighbours_are_not():
    data = b"\xff\xfe one\n\xc3\ntwo\n"
    assert read(data, encoding="utf-8")[0] == [
        "\ufffd\ufffd one".encode(),
        "\ufffd".encode(),
        b"two",
    ]
    high = b"\0\xd8"  # half of a pair
    data = high + "\none\n".encode("utf-16le") + b"x"
    assert read(data, encoding="utf-16le")[0] == ["\ufffd".encode(), b"one", "\ufffd".encode()]


@pytest.mark.parametrize("oversize", Oversize)
def test_lines_that_are_too_long(oversize):
    data = "short\n".encode("utf-16le") + "ü".encode("utf-16le") * 50 + "\nend\n".encode("utf-16le")
    for cuts in [], range(len(data)):
        records, _, bad = read(
            data, cuts, encoding="utf-16le", max_record=ByteSize(21), oversize=oversize
        )
        assert records[0] == b"short"
        assert records[-1] == b"end"
        if oversize is Oversize.SPLIT:
            assert b"".join(records[1:-1]) == "ü".encode() * 50
            assert records[1:-1] == ["ü".encode() * 10] * 5
        else:
            assert records[1:-1] == ["ü".encode() * 10] * (oversize is Oversize.TRUNCATE)
            given_up = sum(end - start for start, end in bad)
            assert given_up == 102 - 20 * (oversize is Oversize.TRUNCATE)


def test_records_of_several_lines():
    text = "1 öne\r\n  at\r\n2 two\r\n"
    config = MultilineReaderConfig(start=Regex("^[0-9]"), encoding="utf-16be", crlf=True)
    data = text.encode("utf-16be")
    for cuts in [], range(len(data)):
        records, ends, _ = read(data, cuts, config)
        assert records == ["1 öne\r\n  at".encode(), b"2 two"]
        assert ends == [2 * len("1 öne\r\n  at\r\n"), len(data)]


@given(
    text=st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60),
    codec=st.sampled_from(["utf-16le", "utf-16be", "utf-32be", "utf-8"]),
    seed=st.integers(0, 999),
)
@settings(deadline=None)
def test_any_text_is_what_python_decodes(text, codec, seed):
    data = text.encode(codec)
    cuts = random.Random(seed).sample(range(len(data) + 1), min(len(data), seed % 7))
    expected = [line.encode() for line in text.removeprefix("\ufeff").split("\n")]
    if not expected[-1] and (text.endswith("\n") or not data):
        expected.pop()  # nothing stands behind the last newline
    assert read(data, cuts, encoding=codec)[0] == expected


@given(data=st.binary(max_size=80), codec=st.sampled_from([*CODECS, "gb18030", "euc_jp", "big5"]))
@settings(deadline=None)
def test_garbage_has_as_many_lines_as_newlines(data, codec):
    unit = Encoding(codec).unit
    units = [data[at : at + unit] for at in range(0, len(data), unit)]
    records, ends, bad = read(data, range(len(data)), encoding=codec)
    newlines = units.count("\n".encode(codec))
    assert len(records) == newlines + (bool(data) and units[-1] != "\n".encode(codec))
    assert not bad
    assert (ends or [0])[-1] == len(data)
    assert read(data, encoding=codec)[:2] == (records, ends)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("utf-16", "must be utf-16le or utf-16be"),
        ("utf-32", "must be utf-32le or utf-32be"),
        ("klingon", "that Python knows"),
        ("base64", "that Python knows"),
        ("iso2022_jp", "told without decoding"),
        ("utf-7", "told without decoding"),
        ("cp037", "told without decoding"),
    ],
)
def test_encodings_that_cannot_be_cut_into_lines(name, message):
    with pytest.raises(ValueError, match=message):
        Encoding(name)
