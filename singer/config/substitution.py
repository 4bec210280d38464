"""`${env:NAME}` and `${file:PATH}` in values.

Reads the environment it is given and small files; knows nothing of YAML. Substitution takes
place once: what comes out is not looked at again, so that a secret may contain `${`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from typing import Final

from singer.base.config import Secret
from singer.base.smallfile import read_small_file

_PATTERN: Final = re.compile(r"\$(\$?)\{([^{}]*)\}")
#: A secret is a password, a token or a PEM chain; anything larger is the wrong file.
_MAX_FILE_BYTES: Final = 1 << 20


def expand(text: str, base_dir: str, environ: Mapping[str, str]) -> str:
    """`text` with its substitutions made; a `Secret` when any came from a file.

    `${env:NAME}` is a variable of `environ`, `${file:PATH}` the contents of a file (UTF-8, less
    one trailing newline; relative to `base_dir`), `$${...}` the literal `${...}`. Raises
    ValueError, whose message names the variable or file and never a value.
    """
    files: list[str] = []

    def replace(match: re.Match[str]) -> str:
        escaped, inner = match.groups()
        if escaped:
            return match[0][1:]
        scheme, _, name = inner.partition(":")
        if scheme == "env" and name:
            if name not in environ:
                raise ValueError(f"environment variable {name} is not set")
            return environ[name]
        if scheme == "file" and name:
            files.append(os.path.join(base_dir, name))
            return _contents(files[-1])
        raise ValueError(
            f"${{{inner}}} is no substitution: known are ${{env:NAME}} and ${{file:PATH}}; "
            f"write $${{{inner}}} for the text itself"
        )

    expanded = _PATTERN.sub(replace, text)
    if not files:
        return expanded
    again = partial(expand, text, base_dir, environ)
    return Secret(expanded, files=tuple(files), again=again)


def _contents(path: str) -> str:
    try:
        return re.sub(r"\r?\n\Z", "", read_small_file(path, _MAX_FILE_BYTES).decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read file {path}: is not UTF-8") from error
    except ValueError as error:
        raise ValueError(f"cannot read file {path}: {error}") from error
