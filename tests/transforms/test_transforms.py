"""Transforms against what each record alone would become."""

import json
import os
import re
import struct
from dataclasses import replace

import numpy as np
import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from singer.base.batch import Keys, RecordBatch
from singer.base.config import (
    EnvelopeConfig,
    EnvelopeType,
    PatternConfig,
    PrefixConfig,
    RedactConfig,
    Regex,
    RewriteConfig,
    SampleBy,
    SampleConfig,
    TextReaderConfig,
    ThriftReaderConfig,
    TransformConfig,
)
from singer.base.ports import State
from singer.base.regex import each_match
from singer.readers.making import make as make_reader
from singer.transforms.making import make
from tests.readers.thrift_frames import frame


def batch_of(payloads, *, together=True, keys=None, times=None, begin=0):
    """`together`: as the text reader has them; else each somewhere in the buffer."""
    separator = b"\n" if together else b"\0\n\xff"
    lengths = np.array([len(payload) for payload in payloads], np.int32)
    sizes = lengths.astype(np.int64) + len(separator)
    starts = np.cumsum(sizes) - sizes + len(separator) * (not together)
    data = (b"" if together else separator) + b"".join(each + separator for each in payloads)
    key_data = b"".join(key or b"" for key in keys or ())
    key_lengths = np.array([-1 if key is None else len(key) for key in keys or ()], np.int32)
    taken = np.maximum(key_lengths, 0).astype(np.int64)
    return RecordBatch(
        buffer=np.frombuffer(data, np.uint8),
        starts=starts,
        lengths=lengths,
        ends=np.cumsum(sizes) + begin,
        span=(begin, begin + int(sizes.sum())),
        sources=sizes,
        keys=None
        if keys is None
        else Keys(
            buffer=np.frombuffer(key_data, np.uint8),
            starts=np.cumsum(taken) - taken,
            lengths=key_lengths,
        ),
        timestamps_ms=None if times is None else np.array(times, np.int64),
        path="/var/log/app.log",
    )


def transform(decider=None, **key):
    return make(TransformConfig(**key), host="web-1", decider=decider or {}.__getitem__)


def payloads_of(batch):
    assert len(batch.starts) == len(batch.lengths) == len(batch.ends)
    return [batch.payload(row) for row in range(len(batch))]


def apply(one, payloads, **options):
    """What comes out, the same whatever way the records lie in memory."""
    results = []
    for together in True, False:
        batch = batch_of(payloads, together=together, **options)
        after, removed = one.apply(batch)
        assert after.span == batch.span
        gone = int(batch.sources.sum() - after.sources.sum())
        assert sum(removed.values()) == gone
        results.append((payloads_of(after), set(removed)))
    assert results[0] == results[1]
    return results[0]


def found(pattern, payload):
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    return re2.compile(pattern.encode(), options).search(payload) is not None


PATTERNS = [
    "b",
    "^b",
    "b$",
    "^$",
    "^",
    r"\s+",
    "a.b",
    "a[^x]b",
    r"\bb\b",
    r"\Ab",
    r"b\z",
    "(?s)a.b",
    "b|c*",
    "",
    r"\xff",
    "(?i)B",
]
PAYLOADS = st.lists(
    st.one_of(
        st.text(alphabet="ab cx\n", max_size=8).map(str.encode),
        st.sampled_from([b"", b"\xff\xfe", b"a\0b", b"\r"]),
    ),
    min_size=1,
    max_size=8,
)


@given(payloads=PAYLOADS, pattern=st.sampled_from(PATTERNS))
@settings(deadline=None)
def test_filter_and_drop_are_what_a_search_in_each_record_says(payloads, pattern):
    kept = [payload for payload in payloads if found(pattern, payload)]
    dropped = [payload for payload in payloads if not found(pattern, payload)]
    config = PatternConfig(pattern=Regex(pattern))
    result, columns = apply(transform(filter=config), payloads)
    assert (result, columns) == (kept, {"filtered"} if dropped else set())
    assert apply(transform(drop=config), payloads)[0] == dropped


@given(
    payloads=PAYLOADS, pattern=st.sampled_from(PATTERNS), new=st.sampled_from(["", "*", r"<\0>"])
)
@settings(deadline=None)
def test_redact_is_what_a_substitution_in_each_record_says(payloads, pattern, new):
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    compiled = re2.compile(pattern.encode(), options)

    def expected(payload):
        parts, at = [], 0
        for match in each_match(compiled, payload):
            parts += [payload[at : match.start()], new.replace(r"\0", "").encode()]
            if r"\0" in new:
                parts[-1] = b"<" + match.group(0) + b">"
            at = match.end()
        return b"".join((*parts, payload[at:]))

    config = RedactConfig(pattern=Regex(pattern), replacement=new)
    assert apply(transform(redact=config), payloads) == ([expected(p) for p in payloads], set())


def test_a_batch_in_which_nothing_is_found_is_not_copied():
    batch = batch_of([b"one", b"two"])
    one = transform(redact=RedactConfig(pattern=Regex("token=[0-9]+"), replacement="token=*"))
    assert one.apply(batch)[0] is batch


def test_groups_in_replacements():
    config = RedactConfig(pattern=Regex(r"(?P<k>\w+)=(\w+)"), replacement=r"\g<k>=[\2]\\")
    assert apply(transform(redact=config), [b"a=1 b=2", b"x"])[0] == [b"a=[1]\\ b=[2]\\", b"x"]
    config = RewriteConfig(pattern=Regex(r"(\d+) (x)?.*"), format=r"n=\1\2")
    assert apply(transform(rewrite=config), [b"a 12 bcd", b"none", b"7 x"])[0] == [
        b"n=12",
        b"none",
        b"n=7x",
    ]


@pytest.mark.parametrize(
    ("key", "config", "message"),
    [
        ("redact", RedactConfig(pattern=Regex("(a)"), replacement=r"\2"), "speaks of group 2"),
        ("rewrite", RewriteConfig(pattern=Regex("a"), format=r"\g<x>"), "speaks of group x"),
        ("filter", PatternConfig(pattern=Regex("(?<=a)b")), "RE2"),
        ("sample", SampleConfig(), "percent or decider, one of them"),
        ("sample", SampleConfig(percent=1, decider="x"), "percent or decider, one of them"),
        ("sample", SampleConfig(percent=101), "0 to 100"),
    ],
)
def test_what_cannot_be_made(key, config, message):
    with pytest.raises(ValueError, match=message):
        transform(**{key: config})


def test_a_step_is_one_thing():
    with pytest.raises(ValueError, match="needs one key"):
        transform()
    with pytest.raises(ValueError, match="needs one key"):
        transform(prefix=PrefixConfig(text="a"), envelope=EnvelopeConfig(type=EnvelopeType.JSON))


def test_a_pattern_made_to_be_hard_and_a_line_made_for_it():
    config = RedactConfig(pattern=Regex("(a*)*b"), replacement="*")
    line = b"a" * 100_000
    assert apply(transform(redact=config), [line, b"aab"])[0] == [line, b"*"]


def test_a_sample_is_the_same_share_every_time():
    payloads = [b"line %d" % n for n in range(10_000)]
    one = transform(sample=SampleConfig(percent=25))
    some, columns = apply(one, payloads)
    assert 2300 < len(some) < 2700
    assert columns == {"sampled"}
    assert apply(one, payloads[5000:])[0] == [p for p in some if p in set(payloads[5000:])]
    more = apply(transform(sample=SampleConfig(percent=50)), payloads)[0]
    assert set(some) < set(more)
    assert apply(transform(sample=SampleConfig(percent=0)), payloads[:9])[0] == []
    assert apply(transform(sample=SampleConfig(percent=100)), payloads[:9])[0] == payloads[:9]


def test_a_sample_by_key():
    keys = [b"key %d" % (n % 50) for n in range(1000)]
    keys[7] = None
    payloads = [b"line %d" % n for n in range(1000)]
    by_key, _ = apply(transform(sample=SampleConfig(percent=40)), payloads, keys=keys)
    chosen = {keys[payloads.index(p)] for p in by_key} - {None}
    assert 10 < len(chosen) < 30
    others = [p for p, k in zip(payloads, keys, strict=True) if k in chosen]
    assert [p for p in by_key if p != payloads[7]] == others
    config = SampleConfig(percent=40, by=SampleBy.PAYLOAD)
    assert apply(transform(sample=config), payloads, keys=keys)[0] != by_key


def test_a_sample_by_decider_follows_it():
    percent = {"web": 100.0}
    one = transform(percent.__getitem__, sample=SampleConfig(decider="web"))
    payloads = [b"line %d" % n for n in range(100)]
    assert apply(one, payloads)[0] == payloads
    percent["web"] = 0.0
    assert apply(one, payloads)[0] == []


def test_prefixes():
    payloads = [b"one", b"", b"th\nree"]
    assert apply(transform(prefix=PrefixConfig(text="{host} é ")), payloads)[0] == [
        "web-1 é ".encode() + payload for payload in payloads
    ]
    one = transform(prefix=PrefixConfig(text="{time} "))
    assert apply(one, payloads, times=[1_700_000_000_007, -1, 0])[0] == [
        b"2023-11-14T22:13:20.007Z one",
        b" ",
        b"1970-01-01T00:00:00.000Z th\nree",
    ]
    assert apply(one, payloads)[0] == [b" " + payload for payload in payloads]


def test_envelopes():
    options = {"keys": [b"k", None], "times": [1_700_000_000_007, -1]}
    payloads = [b'a "b"', b"\xff"]
    first, second = apply(
        transform(envelope=EnvelopeConfig(type=EnvelopeType.JSON)), payloads, **options
    )[0]
    assert json.loads(first) == {
        "message": 'a "b"',
        "host": "web-1",
        "path": "/var/log/app.log",
        "key": "k",
        "timestamp_ms": 1_700_000_000_007,
    }
    assert json.loads(second)["message"] == "\ufffd"
    made = apply(
        transform(envelope=EnvelopeConfig(type=EnvelopeType.LOG_MESSAGE)), payloads, **options
    )[0]
    assert made[0] == frame(payloads[0], key=b"k", timestamp_ns=1_700_000_000_007_000_000)[4:]
    data = b"".join(struct.pack(">i", len(each)) + each for each in made)
    reader = make_reader(ThriftReaderConfig())
    read = reader.frame(np.frombuffer(data, np.uint8), 0, State.FINAL).batch
    assert payloads_of(read) == payloads
    text = apply(
        transform(envelope=EnvelopeConfig(type=EnvelopeType.TEXT_MESSAGE)), payloads, **options
    )[0][0]
    assert text == (
        b"\x0f\0\x01\x0b\0\0\0\x01\0\0\0\x05"
        + payloads[0]
        + b"\x0b\0\x02\0\0\0\x05web-1"
        + b"\x0b\0\x03\0\0\0\x10/var/log/app.log"
        + b"\0"
    )


@pytest.mark.parametrize("time_ms", [-1, 253_402_300_800_000, 1 << 62])
def test_a_time_that_cannot_be_written_is_none(time_ms):
    batch = batch_of([b"x"], times=[time_ms])
    for config, expected in (
        (TransformConfig(prefix=PrefixConfig(text="<{time}> ")), b"<> x"),
        (
            TransformConfig(envelope=EnvelopeConfig(type=EnvelopeType.LOG_MESSAGE)),
            frame(b"x")[4:],
        ),
    ):
        changed, _ = make(config, host="h", decider=float).apply(batch)
        assert changed.payload(0) == expected


def test_the_name_of_a_file_may_be_any_bytes():
    batch = replace(batch_of([b"x"]), path=os.fsdecode(b"/var/log/\xff.log"))
    config = TransformConfig(envelope=EnvelopeConfig(type=EnvelopeType.JSON))
    changed, _ = make(config, host="h", decider=float).apply(batch)
    assert json.loads(changed.payload(0))["path"] == "/var/log/\ufffd.log"


@pytest.mark.parametrize("pattern", ["^*", "^?", "^*b", "^+b", "^{0,1}b", "^??", "^(?i){2}b", "^"])
def test_a_beginning_that_may_be_repeated_stalls_nothing(pattern):
    payloads = [b"ab", b"", b"b", b"c"]
    config = TransformConfig(filter=PatternConfig(pattern=Regex(pattern)))
    chosen, _ = make(config, host="h", decider=float).apply(batch_of(payloads))
    alone = re2.compile(pattern.encode())
    assert [chosen.payload(row) for row in range(len(chosen))] == [
        payload for payload in payloads if alone.search(payload)
    ]


def test_one_behind_the_other_on_what_the_text_reader_makes():
    data = b"INFO token=12 a\nDEBUG x\nINFO token=345 b\n"
    batch = make_reader(TextReaderConfig()).frame(np.frombuffer(data, np.uint8), 0, State.MORE)
    chain = [
        transform(drop=PatternConfig(pattern=Regex("^DEBUG"))),
        transform(redact=RedactConfig(pattern=Regex(r"token=\S+"), replacement="token=***")),
        transform(prefix=PrefixConfig(text="> ")),
    ]
    one = batch_of(data.split(b"\n")[:-1])
    for each in chain:
        one, _ = each.apply(one)
    assert payloads_of(one) == [b"> INFO token=*** a", b"> INFO token=*** b"]
    assert re.match(rb"INFO", batch.batch.payload(0))
