"""Apache Kafka's jars: resolved by Maven from `kafka/pom.xml`, remembered under `.cache/`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from typing import Final

from tests.support.child import tail

_HERE: Final = os.path.dirname(os.path.abspath(__file__))
_POM: Final = os.path.join(_HERE, "kafka", "pom.xml")
_CACHE: Final = os.path.join(os.path.dirname(os.path.dirname(_HERE)), ".cache", "kafka")
#: The first resolution downloads about 60 MB.
_DEADLINE_SECONDS: Final = 280.0


def missing() -> str | None:
    """What keeps Kafka from being run here; None when nothing does."""
    absent = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    return f"Apache Kafka needs {' and '.join(absent)} on the PATH" if absent else None


def classpath() -> str:
    """The classpath of `kafka.Kafka`. Keyed by the pom, checked to be still on this machine."""
    with open(_POM, "rb") as pom:
        key = hashlib.sha256(pom.read()).hexdigest()[:16]
    remembered = os.path.join(_CACHE, f"{key}.classpath")
    if (found := _read(remembered)) is not None:
        return found
    os.makedirs(_CACHE, exist_ok=True)
    log_path = os.path.join(_CACHE, f"{key}.log")
    fresh = f"{remembered}.{os.getpid()}"
    command = ["mvn", "-q", "-B", "-f", _POM]
    command += ["dependency:build-classpath", f"-Dmdep.outputFile={fresh}"]
    with open(log_path, "wb") as log:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=_DEADLINE_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f"resolve the jars of {_POM}: mvn failed:\n{tail(log_path)}")
    os.replace(fresh, remembered)
    found = _read(remembered)
    assert found is not None, f"resolve the jars of {_POM}: mvn named jars that are not there"
    return found


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            found = file.read().strip()
    except FileNotFoundError:
        return None
    return found if all(os.path.exists(jar) for jar in found.split(":")) else None
