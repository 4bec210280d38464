"""Globs over absolute paths, compiled for a walk that enters only where a match is possible. Pure.

`*` and `?` match within a name, `[a-z]` and `[!a-z]` one character, `**` as a whole component any
number of directories (none included), `{a,b}` either text, nested if need be. As in a shell, a
leading dot has to be written: `*` and `**` match no hidden file and enter no hidden directory. A
backslash is a character like any other; to match `*` itself write `[*]`.

Names that are not UTF-8 are matched as `os.fsdecode` gives them: one `?` for each stray byte.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

#: `{a,b}{a,b}...` doubles with each pair; beyond this a glob is a mistake.
_MOST_BRANCHES: Final = 1024

_MAGIC: Final = re.compile(r"[*?\[]")
_NOT_HIDDEN: Final = r"(?!\.)"
_DEEP: Final = "**"
_VISIBLE: Final = re.compile(r"[^.].*", re.DOTALL)

#: One component of a branch: a name as it is, a compiled wildcard, or None for `**`.
_Part: TypeAlias = str | re.Pattern[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One alternative of a glob: `parts` matched below the directory `base`."""

    base: str
    parts: tuple[_Part, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a branch a walk is: in a directory whose entries are to match `parts[index]`."""

    branch: Branch
    index: int

    def enter(self, name: str) -> Iterator[Place]:
        """Where the walk is inside of the subdirectory `name`; nothing: it need not go there."""
        parts, index = self.branch.parts, self.index
        part = parts[index]
        if part is None:
            if not name.startswith("."):
                yield self
            if index + 1 < len(parts):
                yield from Place(self.branch, index + 1).enter(name)
        elif index + 1 < len(parts) and _part_matches(part, name):
            yield Place(self.branch, index + 1)

    def accepts(self, name: str) -> bool:
        """Whether the file `name` in this directory matches."""
        part = self._last()
        return part is not None and _part_matches(part, name)

    @property
    def leads_on(self) -> bool:
        """Whether a match may be in a subdirectory."""
        return self.branch.parts[self.index] is None or self.index + 1 < len(self.branch.parts)

    def _last(self) -> str | re.Pattern[str] | None:
        """What the name of a file in this directory has to match; None: it is not the last one."""
        parts, index = self.branch.parts, self.index
        while index + 1 < len(parts) and parts[index] is None:
            index += 1
        if index + 1 < len(parts):
            return None
        part = parts[index]
        return _VISIBLE if part is None else part

    @property
    def literal(self) -> str | None:
        """The only name that is of interest here, if there is only one."""
        part = self.branch.parts[self.index]
        return part if isinstance(part, str) else None

    def names(self, name: str) -> bool:
        """Whether a person wrote out that a file `name` is to be here."""
        return self.literal == name and self.index + 1 == len(self.branch.parts)


def acceptor(
    places: Iterable[Place], excluded: Iterable[Callable[[str], object]] = ()
) -> Callable[[str], object]:
    """A test whether a file's name matches in one of `places`, all in the same directory.

    Made once for each directory, because it is asked for each file. `excluded` are tests of names
    that do not match all the same.
    """
    parts = {place._last() for place in places}  # noqa: SLF001  # of this module
    names = frozenset(part for part in parts if isinstance(part, str))
    matchers = tuple(part.fullmatch for part in parts if isinstance(part, re.Pattern))
    excluders = tuple(excluded)
    if len(parts) == len(matchers) == 1 and not excluders:
        return matchers[0]

    def accepts(name: str) -> bool:
        for matches in matchers:  # any() costs more than the match
            if matches(name):
                break
        else:
            if name not in names:
                return False
        for excludes in excluders:  # noqa: SIM110  # as above
            if excludes(name):
                return False
        return True

    return accepts


def enterer(places: Iterable[Place]) -> Callable[[str], bool] | None:
    """A test whether a walk may enter a subdirectory by its name; None: it enters none."""
    leading_on = [place for place in places if place.leads_on]
    if not leading_on:
        return None
    return lambda name: any(True for place in leading_on for _ in place.enter(name))


def names_of_interest(places: Iterable[Place]) -> list[str] | None:
    """The names that are written out, if there are no wildcards here; else None."""
    names = {place.literal for place in places}
    return None if None in names else sorted(name for name in names if name is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A compiled glob."""

    glob: str
    branches: tuple[Branch, ...]
    _regex: re.Pattern[str]

    def matches(self, path: str) -> bool:
        """Whether the absolute `path` matches."""
        return self._regex.fullmatch(path) is not None

    def starts(self) -> Iterator[tuple[str, Place]]:
        """The directories where a walk begins."""
        for branch in self.branches:
            yield branch.base, Place(branch, 0)


@dataclass(frozen=True, slots=True)
class Excludes:
    """Globs of what is left out. Here wildcards match hidden names as well."""

    _names: re.Pattern[str] | None
    _paths: re.Pattern[str] | None
    _trees: re.Pattern[str] | None
    #: What `_paths` are made of: the expressions of a directory and of the names in it.
    _files: tuple[tuple[re.Pattern[str], str], ...]

    def cover(self, path: str) -> bool:
        """Whether the file at the absolute `path` is left out."""
        if self._names is not None and self._names.fullmatch(os.path.basename(path)):
            return True
        return self._paths is not None and self._paths.fullmatch(path) is not None

    def cover_tree(self, directory: str) -> bool:
        """Whether everything in `directory`, at any depth, is left out."""
        return self._trees is not None and self._trees.fullmatch(_place(directory)) is not None

    def inside(self, directory: str) -> Callable[[str], object] | None:
        """A test whether the file of a name in `directory` is left out; None: none can be.

        For directories that are not left out as a whole. Says the same as `cover`, at the price
        of one expression for all files of a directory and of a shorter one for each.
        """
        where = _place(directory)
        names = [name for place, name in self._files if place.fullmatch(where)]
        if not names:
            return None if self._names is None else self._names.fullmatch
        if self._names is not None:
            names.append(self._names.pattern)
        return _any(names).fullmatch


def _place(directory: str) -> str:
    """A directory as the expressions of directories have it: without a slash at the end."""
    return directory if directory != "/" else ""


def compile(glob: str) -> Pattern:  # noqa: A001  # as re.compile: read with its module
    """Compile an absolute glob. Raises ValueError with a phrase that fits behind the glob."""
    branches, regexes = [], []
    for text in _alternatives(glob):
        if not text.startswith("/"):
            raise ValueError("must be an absolute path: begin with /")
        names = _components(text)
        if not names or text.endswith("/"):
            raise ValueError("must name files, not a directory: add /* for all files in it")
        # The last component is never part of the base: it is looked up like a wildcard is.
        fixed = 0
        while fixed < len(names) - 1 and not _MAGIC.search(names[fixed]):
            fixed += 1
        parts = tuple(_part(name) for name in names[fixed:])
        branches.append(Branch(base="/" + "/".join(names[:fixed]), parts=parts))
        regexes.append(_regex(names, _NOT_HIDDEN))
    unique = tuple(dict.fromkeys(branches))
    return Pattern(glob=glob, branches=unique, _regex=_any(regexes))


def compile_excludes(globs: Iterable[str]) -> Excludes:
    """Compile globs of what is left out: with a slash whole paths, without it names of files.

    Raises ValueError with a phrase that fits behind the glob.
    """
    names: list[str] = []
    paths: list[str] = []
    trees: list[str] = []
    files: list[tuple[re.Pattern[str], str]] = []
    for glob in globs:
        for text in _alternatives(glob):
            if "/" not in text:
                names.append(_component_regex(text, ""))
                continue
            if not text.startswith(("/", "**/")):
                raise ValueError("with a slash must match a whole path: begin with / or **/")
            components = _components(text)
            paths.append(_regex(components, ""))
            way = _way(components, "")
            if components[-1:] == [_DEEP]:
                trees.append(way + "(?:/.*)?")
            elif components:
                files.append((re.compile(way, re.DOTALL), _component_regex(components[-1], "")))
    by_name, by_path, by_tree = (_any(each) if each else None for each in (names, paths, trees))
    return Excludes(by_name, by_path, by_tree, tuple(files))


def _alternatives(glob: str) -> list[str]:
    """All texts that the braces stand for, in order, without doubles."""
    if not glob or "\0" in glob:
        raise ValueError("must be a path")
    texts = list(dict.fromkeys(_expand(glob)))
    for text in texts:
        if any(part in (".", "..") for part in text.split("/")):
            raise ValueError("must not contain . or .. as a directory")
    return texts


def _expand(glob: str) -> list[str]:
    opened = _find(glob, 0, "{}")
    if opened < 0:
        return [glob]
    if glob[opened] == "}":
        raise ValueError("must balance its braces { }")
    choices, depth, begin, position = [], 1, opened + 1, opened + 1
    while depth:
        position = _find(glob, position, "{,}")
        if position < 0:
            raise ValueError("must balance its braces { }")
        depth += {"{": 1, "}": -1, ",": 0}[glob[position]]
        if depth == 0 or (depth == 1 and glob[position] == ","):
            choices.append(glob[begin:position])
            begin = position + 1
        position += 1
    rests = _expand(glob[position:])
    texts = [
        glob[:opened] + middle + rest
        for choice in choices
        for middle in _expand(choice)
        for rest in rests
    ]
    if len(texts) > _MOST_BRANCHES:
        raise ValueError(f"must not stand for more than {_MOST_BRANCHES} globs by its braces")
    return texts


def _find(glob: str, position: int, characters: str) -> int:
    """The next of `characters` that is not inside of a [class]; -1: none."""
    while position < len(glob):
        if glob[position] == "[":
            position = _class_end(glob, position)
        elif glob[position] in characters:
            return position
        position += 1
    return -1


def _class_end(text: str, opened: int) -> int:
    """Where the `]` of the class that begins at `opened` is. `]` as its first stands for itself."""
    first = opened + (2 if text[opened + 1 : opened + 2] in ("!", "^") else 1)
    end = text.find("]", first + 1)
    if end < 0:
        raise ValueError("must close its bracket [")
    if "/" in text[opened:end]:
        raise ValueError("must not have a slash between [ ]")
    return end


def _components(text: str) -> list[str]:
    return [name for name in text.split("/") if name]


def _part(name: str) -> _Part:
    if name == _DEEP:
        return None
    if not _MAGIC.search(name):
        return name
    return re.compile(_component_regex(name, _NOT_HIDDEN), re.DOTALL)


def _part_matches(part: str | re.Pattern[str], name: str) -> bool:
    return part == name if isinstance(part, str) else part.fullmatch(name) is not None


def _regex(names: list[str], not_hidden: str) -> str:
    """The expression for a whole path."""
    if not names:
        return ""
    last = f"(?:/{not_hidden}[^/]+)+"
    if names[-1] != _DEEP:
        last = "/" + _component_regex(names[-1], not_hidden)
    return _way(names, not_hidden) + last


def _way(names: list[str], not_hidden: str) -> str:
    """The expression for the directory where what the last of `names` matches lies."""
    return "".join(
        f"(?:/{not_hidden}[^/]+)*" if name == _DEEP else "/" + _component_regex(name, not_hidden)
        for name in names[:-1]
    )


def _component_regex(name: str, not_hidden: str) -> str:
    pieces = [] if name.startswith(".") or not _MAGIC.search(name) else [not_hidden]
    position = 0
    while position < len(name):
        character = name[position]
        if character == "*":
            pieces.append("[^/]*")
            while name[position + 1 : position + 2] == "*":  # a row of them is no different
                position += 1
        elif character == "?":
            pieces.append("[^/]")
        elif character == "[":
            end = _class_end(name, position)
            pieces.append(_class_regex(name[position + 1 : end]))
            position = end
        else:
            pieces.append(re.escape(character))
        position += 1
    return "".join(pieces)


def _class_regex(inside: str) -> str:
    negated = inside[0] in "!^"
    characters = inside[1:] if negated else inside
    if "[:" in characters and characters.endswith(":"):
        raise ValueError(f"must not use the class [{inside}]]: write it out, as in [0-9]")
    pieces, position = [], 0
    while position < len(characters):
        first = characters[position]
        if characters[position + 1 : position + 2] == "-" and position + 2 < len(characters):
            last = characters[position + 2]
            if first > last:
                raise ValueError(f"must not have the empty range {first}-{last} between [ ]")
            pieces.append(f"{re.escape(first)}-{re.escape(last)}")
            position += 3
        else:
            pieces.append(re.escape(first))
            position += 1
    return f"[{'^/' if negated else ''}{''.join(pieces)}]"


def _any(regexes: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{regex})" for regex in regexes), re.DOTALL)
