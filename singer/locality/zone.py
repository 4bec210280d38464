"""Where am I: the names of this host's availability zone.

Owns the notations `static:ZONE`, `env:NAME`, `file:PATH`, `ec2` and `none`. Whoever compares the
names with brokers' racks uses whichever occurs among them: EC2 zones have a name (us-east-1a)
and an id (use1-az1), and clusters carry one or the other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from singer.base.events import Emit
from singer.base.smallfile import read_small_file
from singer.locality.events import ZoneUnknown

#: A few names; anything larger is the wrong file.
_MAX_FILE_BYTES: Final = 4096
#: Racks are short words. This also keeps what a wrong file holds out of logs and requests.
_ZONE: Final = re.compile(r"[A-Za-z0-9._:/-]{1,255}")


class Source(Enum):
    """Where the zone's names come from."""

    STATIC = "static"
    ENV = "env"
    FILE = "file"
    EC2 = "ec2"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Locality:
    """A parsed notation; `argument` is the zone, the variable or the path, else empty."""

    source: Source
    argument: str = ""


def parse(spec: str) -> Locality:
    """The parts of `spec`. Raises ValueError for any other notation."""
    if spec in (Source.NONE.value, Source.EC2.value):
        return Locality(source=Source(spec))
    word, _, argument = spec.partition(":")
    if word not in (Source.STATIC.value, Source.ENV.value, Source.FILE.value) or not argument:
        raise ValueError("must be none, ec2, static:ZONE, env:NAME or file:PATH")
    if word == Source.STATIC.value:
        _names(argument)
    return Locality(source=Source(word), argument=argument)


def resolve(spec: str, emit: Emit, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The names of this host's zone; none when it is unknown: then all partitions are used.

    A variable or file may hold several names, separated by commas or white space. Never raises
    for what the host looks like; emits ZoneUnknown instead. Raises ValueError for a notation
    that `parse` refuses.
    """
    locality = parse(spec)
    try:
        return _look_up(locality, environ)
    except ValueError as error:
        emit(ZoneUnknown(locality=spec, reason=str(error)))
        return ()


def _look_up(locality: Locality, environ: Mapping[str, str]) -> tuple[str, ...]:
    match locality.source:
        case Source.STATIC:
            return _names(locality.argument)
        case Source.ENV:
            if locality.argument not in environ:
                raise ValueError("the variable is not set")
            return _names(environ[locality.argument])
        case Source.FILE:
            data = read_small_file(locality.argument, _MAX_FILE_BYTES)
            return _names(data.decode("utf-8", "replace"))
        case Source.EC2 | Source.NONE:
            return ()  # the former is asked while the agent runs: see `ec2`


def is_zone(name: str) -> bool:
    """Whether this may be the name of a zone, or of a rack."""
    return _ZONE.fullmatch(name) is not None


def _names(text: str) -> tuple[str, ...]:
    names = text.replace(",", " ").split()
    if not names:
        raise ValueError("must name a zone, is empty")
    for name in names:
        if not is_zone(name):
            raise ValueError("must name a zone, like us-east-1a")
    return tuple(dict.fromkeys(names))
