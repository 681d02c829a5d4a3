"""Files of schedules: JSON or YAML, with a version, and the documents of all schedules by their names.

The same schedules always make the same file: names and options are sorted, and defaults left out, so that a
file can be kept under version control, and shows what has changed.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from jobledger.jobs import json_text
from jobledger.schedules.documents import yaml_texts
from jobledger.schedules.documents.keys import (
    DEFINITION_KEYS,
    KEYS,
    RULE_KEYS,
    SOLAR_KEYS,
    Document,
    Key,
)
from jobledger.schedules.documents.yaml_texts import SyntaxProblem

VERSION_KEY, VERSION = "jobledger_schedules", 1
SCHEDULES, CALENDARS = "schedules", "calendars"
JSON, YAML = "json", "yaml"

Path = tuple[str, ...]
"""Where in a file something is: its keys."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with a file."""

    text: str
    path: Path = ()
    line: int | None = None

    def __str__(self) -> str:
        line = f"line {self.line}, " if self.line else ""
        where = line + path_text(self.path)
        return f"{where.removesuffix(', ')}: {self.text}" if where else self.text


class InvalidFileError(ValueError):
    """The file is not one of schedules, or something in it is not valid."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, kw_only=True)
class ScheduleFile:
    """The content of a file."""

    documents: Mapping[str, Document]
    """Those of schedules."""
    calendars: Mapping[str, Document] | None = None
    """Those of calendars; None if the file says nothing about them."""
    lines: Mapping[Path, int]
    """The line of each key, as far as they are known."""
    problems: Sequence[Problem] = ()
    """What is wrong with its keys. The documents are without them, so that the rest can be validated too."""

    def has_problem(self, *path: str) -> bool:
        """Whether one of its keys there is wrong."""
        return any(each.path[: len(path)] == path for each in self.problems)

    def problem(self, path: Path, text: str) -> Problem:
        """A problem there, with its line."""
        return _located(self.lines, path, text)


def path_text(path: Path) -> str:
    """``schedules.nightly.options.days``; names with other characters are quoted."""
    return ".".join(part if part.isidentifier() else json.dumps(part, ensure_ascii=False) for part in path)


def file_text(
    documents: Mapping[str, Document], kind: str, *, calendars: Mapping[str, Document] | None = None
) -> str:
    """The file with these schedules, and these calendars, if any. Raises yaml_texts.MissingLibraryError."""
    content = {
        VERSION_KEY: VERSION,
        **({CALENDARS: {name: calendars[name] for name in sorted(calendars)}} if calendars else {}),
        SCHEDULES: {name: _sorted_inside(documents[name]) for name in sorted(documents)},
    }
    if kind == YAML:
        return yaml_texts.dumped(content)
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def read(text: str, kind: str) -> ScheduleFile:
    """Parse a file, which may have ``problems``.

    Raises InvalidFileError if it is none of schedules, or yaml_texts.MissingLibraryError.
    """
    try:
        content, lines = yaml_texts.loaded(text) if kind == YAML else (_loaded_json(text), {})
        # What JSON cannot represent cannot be stored.
        content = json_text.parse(json.dumps(content, ensure_ascii=False))
    except SyntaxProblem as error:
        raise InvalidFileError([Problem(text=str(error), line=error.line)]) from error
    except RecursionError as error:
        raise InvalidFileError([Problem(text="it is nested too deep")]) from error
    except ValueError as error:
        raise InvalidFileError([Problem(text=str(error))]) from error
    found = list(_problems(content))
    problems = [_located(lines, path, text) for path, text in found]
    if not _is_export(content):
        raise InvalidFileError(problems)
    content = _without(content, {path for path, _ in found})
    documents = content.get(SCHEDULES) or {}
    calendars = (content[CALENDARS] or {}) if CALENDARS in content else None
    return ScheduleFile(
        documents={name: _without_nulls(each) for name, each in documents.items()},
        calendars=calendars and {name: _without_nulls(each) for name, each in calendars.items()},
        lines=lines,
        problems=problems,
    )


def _is_export(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and content.get(VERSION_KEY) is not True
        and content.get(VERSION_KEY) == VERSION
    )


def _without(value: Any, wrong: Collection[Path], path: Path = ()) -> Any:
    """The value without what is at these paths. Schedules and calendars keep names that can be stored."""
    if not isinstance(value, dict):
        return value
    return {
        name: {} if (*path, name) in wrong else _without(each, wrong, (*path, name))
        for name, each in value.items()
        if (*path, name) not in wrong or (len(path) == 1 and not _has_nul(name))
    }


def _located(lines: Mapping[Path, int], path: Path, text: str) -> Problem:
    known = (lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines)
    return Problem(text=text, path=path, line=next(known, None))


def _sorted_inside(document: Document) -> dict[str, Any]:
    """The keys of a schedule have their own order."""
    return {name: _sorted(value) for name, value in document.items()}


def _sorted(value: Any) -> Any:
    match value:
        case dict():
            return {name: _sorted(value[name]) for name in sorted(value)}
        case list():
            return [_sorted(each) for each in value]
    return value


def _without_nulls(document: Document) -> dict[str, Any]:
    """An empty value is as good as none, except among the options."""
    found = {name: value for name, value in document.items() if value is not None}
    if rules := found.get("alert_rules"):
        found["alert_rules"] = {
            name: {key: value for key, value in (rule or {}).items() if value is not None}
            for name, rule in rules.items()
        }
    return found


def _loaded_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refused)
    except json.JSONDecodeError as error:
        raise SyntaxProblem(f"{error.msg}, at column {error.colno}", line=error.lineno) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {json.dumps(twice)} occurs twice in one object")
    return found


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not valid JSON")


# What is wrong


_FILE_KEYS = (VERSION_KEY, CALENDARS, SCHEDULES)
_NUL = "it contains a NUL character; leave it out"


def _problems(content: Any) -> Iterator[tuple[Path, str]]:
    if not isinstance(content, dict) or VERSION_KEY not in content:
        yield (), f"this is not an export of schedules: it has no {VERSION_KEY}: {VERSION}"
        return
    if content[VERSION_KEY] != VERSION or isinstance(content[VERSION_KEY], bool):
        found = json.dumps(content[VERSION_KEY])
        yield (VERSION_KEY,), f"expected {VERSION}, not {found}: this version reads no other format"
        return
    yield from _unknown((), content, _FILE_KEYS)
    yield from _members((CALENDARS,), content.get(CALENDARS), _calendar_problems)
    yield from _members((SCHEDULES,), content.get(SCHEDULES), _schedule_problems)


def _schedule_problems(path: Path, document: Document) -> Iterator[tuple[Path, str]]:
    yield from _key_problems(path, document, KEYS)
    if isinstance(solar := document.get("solar"), dict):
        yield from _key_problems((*path, "solar"), solar, SOLAR_KEYS)
    if isinstance(rules := document.get("alert_rules"), dict):
        yield from _members((*path, "alert_rules"), rules, _rule_problems, may_be_empty=True)


def _calendar_problems(path: Path, document: Document) -> Iterator[tuple[Path, str]]:
    yield from _key_problems(path, document, DEFINITION_KEYS)


def _rule_problems(path: Path, document: Document) -> Iterator[tuple[Path, str]]:
    yield from _key_problems(path, document, RULE_KEYS)


def _members(
    path: Path,
    members: Any,
    problems: Callable[[Path, Document], Iterator[tuple[Path, str]]],
    *,
    may_be_empty: bool = False,
) -> Iterator[tuple[Path, str]]:
    if not isinstance(members, dict | None):
        yield path, "expected an object with names"
        return
    for name, document in (members or {}).items():
        if _has_nul(name):
            yield (*path, name), _NUL
        elif isinstance(document, dict):
            yield from problems((*path, name), document)
        elif document is not None or not may_be_empty:
            yield (*path, name), "expected an object"


def _key_problems(path: Path, document: Document, keys: Mapping[str, Key]) -> Iterator[tuple[Path, str]]:
    yield from _unknown(path, document, keys)
    for name, value in document.items():
        if name in keys and value is not None and not keys[name].accepts(value):
            yield (*path, name), f"expected {keys[name].kind.value}, not {json_text.excerpt(value)}"
        elif name in keys and _has_nul(value):
            yield (*path, name), _NUL


def _has_nul(value: Any) -> bool:
    """In a text or a list of texts. In options, it is replaced when they are stored."""
    return any(
        isinstance(text, str) and "\0" in text for text in (value if isinstance(value, list) else [value])
    )


def _unknown(path: Path, document: Document, known: Any) -> Iterator[tuple[Path, str]]:
    for name in document:
        if name not in known:
            similar = get_close_matches(name, known, n=1)
            hint = f"Did you mean {similar[0]}?" if similar else f"Known keys: {', '.join(known)}."
            yield (*path, name), f"unknown key. {hint}"
