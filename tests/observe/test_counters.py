"""Counters add up; gauges keep the latest."""

from __future__ import annotations

from singer.base.events import Count, Event, Gauge
from singer.observe.counters import Counters


class Happened(Event):
    def __init__(self, counts=(), gauges=()):
        object.__setattr__(self, "made", (counts, gauges))

    def counts(self):
        return self.made[0]

    def gauges(self):
        return self.made[1]


def test_counts_add_up_and_gauges_keep_the_latest():
    counters = Counters()
    for amount in (3, 4):
        counters(
            Happened(
                counts=(Count("seen_total", amount, (("b", "2"), ("a", "1"))),),
                gauges=(Gauge("level", amount, (("b", "2"), ("a", "1"))),),
            )
        )
    key = (("a", "1"), ("b", "2"))
    assert counters.snapshot() == {("seen_total", key): 7}
    assert counters.gauges() == {("level", key): 4}


def test_a_gauge_alone_and_a_count_alone_are_heard():
    counters = Counters()
    counters(Happened(gauges=(Gauge("level", 2),)))
    counters(Happened(counts=(Count("seen_total", 1),)))
    assert (counters.gauge("level"), counters.total("seen_total")) == (2, 1)


def test_a_gauge_is_the_sum_of_its_labels():
    counters = Counters()
    assert counters.gauge("level") is None
    for stream, value in (("a", 5), ("b", 7), ("a", 6)):
        counters(Happened(gauges=(Gauge("level", value, (("stream", stream),)),)))
    counters(Happened(gauges=(Gauge("other", 100),)))
    assert counters.gauge("level") == 13


def test_gauges_go_down():
    counters = Counters()
    for value in (9, 0):
        counters(Happened(gauges=(Gauge("level", value),)))
    assert counters.gauge("level") == 0
