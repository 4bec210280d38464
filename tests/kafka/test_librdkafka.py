from __future__ import annotations

import ctypes

import numpy as np
import pytest

from singer.base.errors import InvariantError
from singer.kafka import librdkafka as rd


def test_the_message_columns_lie_where_the_c_structure_has_them() -> None:
    assert rd.MESSAGE.itemsize == ctypes.sizeof(rd.Message) == 72
    assert rd.MESSAGE.fields is not None
    for name in ("err", "rkt", "partition", "payload", "len", "key", "key_len", "private"):
        assert rd.MESSAGE.fields[name][1] == getattr(rd.Message, name).offset


def test_another_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rd, "MESSAGE", np.dtype([("err", "i4"), ("private", "i8")]))
    with pytest.raises(InvariantError, match="load librdkafka: rd_kafka_message_t takes 12"):
        rd._check()


def test_an_old_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rd, "version", lambda: 0x020500FF)
    with pytest.raises(InvariantError, match=r"load librdkafka: version .* is too old"):
        rd._check()
