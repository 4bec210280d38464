"""Topics from paths: what the name of a file can choose, and what it cannot."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singer.kafka.topic_template import TopicTemplate


@pytest.mark.parametrize(
    ("template", "groups", "topic"),
    [
        ("plain.topic", {}, "plain.topic"),
        ("logs.{service}", {"service": "web"}, "logs.web"),
        ("logs.{a}-{b}.x", {"a": "1", "b": "2"}, "logs.1-2.x"),
        ("logs.{service}", {"service": "web.api/../x"}, "logs.web_api____x"),
        ("logs.{service}", {"service": "é ü\ud8ff"}, "logs.____"),
        ("logs.{service}", {"service": ""}, "logs.unmatched"),
        ("logs.{service}", {"service": None}, "logs.unmatched"),
        ("logs.{service}", {}, "logs.unmatched"),
        ("l.{a}{b}", {"a": "x" * 300, "b": "y" * 300}, "l." + "x" * 246 + "y"),
        ("l.{a}", {"a": "{a}"}, "l._a_"),
    ],
)
def test_topics(template, groups, topic):
    assert TopicTemplate(template).fill(groups) == topic


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "must be a topic name of letters"),
        (".", "must be a topic name of letters"),
        ("..", "must be a topic name of letters"),
        ("a b", "must be a topic name of letters"),
        ("logs.{a", "must be a topic name of letters"),
        ("logs.a}", "must be a topic name of letters"),
        ("x" * 250, "at most 249 characters"),
        ("x" * 249 + "{a}", "at most 249 characters"),
        ("{a}", "begins with a letter or digit of its own"),
        ("__{a}", "begins with a letter or digit of its own"),
        (".{a}x", "begins with a letter or digit of its own"),
    ],
)
def test_what_is_no_topic(template, message):
    with pytest.raises(ValueError, match=message):
        TopicTemplate(template)


@given(st.text(max_size=400), st.text(max_size=400))
def test_no_name_leads_outside_of_the_template(one, other):
    topic = TopicTemplate("logs.{one}.v1.{other}.end").fill({"one": one, "other": other})
    assert re.fullmatch(r"logs\.[A-Za-z0-9_-]+\.v1\.[A-Za-z0-9_-]+\.end", topic)
    assert len(topic) <= 249
