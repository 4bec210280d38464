"""What container runtimes write, and a plain loop that reads it."""

import json
import re
from datetime import UTC, datetime

_CRI = re.compile(rb"(\S{20,35}) (stdout|stderr) ([FP])(:[^ ]*)?(?: (.*))?", re.DOTALL)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)",
    re.ASCII | re.DOTALL,
)


def time(ms: int) -> str:
    """A time as runtimes write it."""
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}000001Z"


def cri(
    content: bytes,
    *,
    stream: str = "stdout",
    full: bool = True,
    ms: int = 1_700_000_000_000,
    tags: str = "",
) -> bytes:
    head = f"{time(ms)} {stream} {'F' if full else 'P'}{tags} "
    return head.encode() + content + b"\n"


def docker(
    content: bytes,
    *,
    stream: str = "stdout",
    full: bool = True,
    ms: int = 1_700_000_000_000,
    **more: object,
) -> bytes:
    text = content.decode() + "\n" * full
    values = {"log": text, "stream": stream, **more, "time": time(ms)}
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def parse(line: bytes) -> tuple[bytes, str, bool, int] | None:
    """(content, stream, full, ms) of a line; None: it is none."""
    try:
        if line.startswith(b"{"):
            values = json.loads(line.decode("utf-8", "surrogateescape"))
            halves = re.search("[\ud800-\udc7f\udd00-\udfff]", values["log"])
            text = values["log"].encode("utf-8", "replace" if halves else "surrogateescape")
            full = text.endswith(b"\n")
            content, stream, stamp = text.removesuffix(b"\n"), values["stream"], values["time"]
        else:
            found = _CRI.fullmatch(line)
            if found is None:
                return None
            stamp, stream, tag, _, content = found.groups()
            stamp, stream = stamp.decode("latin-1"), stream.decode()
            full, content = tag == b"F", content or b""
        timed = _TIME.fullmatch(stamp)
        if timed is None:
            return None
        second, fraction, zone = timed.groups()
        if stream not in {"stdout", "stderr"} or len(stamp) > 35:
            return None
        moment = datetime.fromisoformat(second + zone)
        seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
        ms = int(seconds) * 1000 + int(((fraction or "") + "000")[:3])
    except (ValueError, AttributeError, KeyError, TypeError):
        return None
    return (content, stream, full, ms) if ms >= 0 else None
