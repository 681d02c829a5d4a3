"""Values as people write them into a form, and back: each can be written, and most look like themselves.

A text that a field would lose or break (empty, with blanks at its ends, over several lines, in quotes) is
written in double quotes, as in JSON. Lists have a value a line; where each value is a list again, its
words are parted by blanks.
"""

import copy
import json
import re
from argparse import SUPPRESS, Action
from collections.abc import Collection, Iterable
from typing import Any

from jobledger.admin.options.layout import Place
from jobledger.jobs import json_text, secrets
from jobledger.jobs.options import values
from jobledger.jobs.options.argparse_internals import expand_help, format_values
from jobledger.jobs.options.parser import is_short

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"(?!\S)|\S+')


def written(value: str) -> str:
    """The value as one line of a form."""
    is_plain = value and value == value.strip() and not value.startswith('"') and value.isprintable()
    return value if is_plain else json.dumps(value, ensure_ascii=not value.isprintable())


def read(text: str) -> str:
    """The value that a line of a form says."""
    text = text.strip()
    if not text.startswith('"'):
        return text
    try:
        value = json_text.parse(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def written_lines(values: Iterable[str]) -> str:
    """A value a line."""
    return "\n".join(map(written, values))


def read_lines(text: str) -> list[str]:
    """The values of the lines; empty lines are none."""
    return [read(line) for line in text.split("\n") if line.strip()]


def written_words(values: Iterable[str]) -> str:
    """The values in one line, parted by blanks."""
    return " ".join(_written_word(value) for value in values)


def read_words(text: str) -> list[str]:
    """The values in one line."""
    return [read(word) for word in _WORD.findall(text)]


def _written_word(value: str) -> str:
    has_blank = any(character.isspace() for character in value)
    return json.dumps(value, ensure_ascii=False) if has_blank else written(value)


MOST_CHOICES_SHOWN = 12


def label(place: Place) -> str:
    """``--batch-size`` as "Batch size"."""
    actions = place.option.actions
    names = sorted(actions[0].option_strings, key=is_short) if len(actions) == 1 else []
    metavar = place.action.metavar
    positional = metavar if isinstance(metavar, str) and not place.action.option_strings else ""
    name = names[0] if names else positional or place.option.dest
    words = re.sub(r"[-_\s]+", " ", name).strip() or name
    rest = words[1:].lower() if words.isupper() else words[1:]
    return words[0].upper() + rest if rest else words


def flags(place: Place) -> str:
    """How it is written on a command line: ``--batch-size N``; empty for a positional."""
    return ", ".join(
        " ".join(filter(None, (", ".join(action.option_strings), _arguments_of(action))))
        for action in place.option.actions
        if action.option_strings
    )


def help_text(place: Place, *, is_secret: bool) -> str:
    """The author's help, its ``%(default)s`` filled in."""
    texts = (_expanded(place, action, is_secret=is_secret) for action in place.option.actions)
    return " ".join(dict.fromkeys(filter(None, texts)))


def default_text(place: Place) -> str:
    """The default as somebody would write it; empty where leaving it out says nothing worth reading."""
    default = place.option.default
    if default is None or default is SUPPRESS or isinstance(default, bool) or default in ("", [], ()):
        return ""
    if isinstance(default, list | tuple):
        return ", ".join(_text(place, each) for each in default)
    return _text(place, default)


def says_default(place: Place) -> bool:
    """Whether the author's help says the default itself."""
    return any("%(default)" in (action.help or "") for action in place.option.actions)


def default_hint(place: Place) -> str:
    """The default in words, unless the help says it already."""
    text = default_text(place)
    return f"Default: {text}." if text and not says_default(place) else ""


def sentences(*texts: str) -> str:
    """The texts one after the other, each ended by a full stop if it has none of its own."""
    *firsts, last = [text for text in texts if text] or [""]
    return " ".join([*(text if text[-1] in ".!?:)" else f"{text}." for text in firsts), last])


def _arguments_of(action: Action) -> str:
    if action.nargs == 0:
        return ""
    shown = copy.copy(action)
    if action.metavar is None and not _are_few(action.choices):
        shown.metavar = action.dest.upper()
    return format_values(shown)


def _are_few(choices: Any) -> bool:
    """argparse writes all of them, and breaks where they cannot be listed."""
    return choices is None or (isinstance(choices, Collection) and len(choices) <= MOST_CHOICES_SHOWN)


def _expanded(place: Place, action: Action, *, is_secret: bool) -> str:
    if action.help is None or action.help is SUPPRESS:
        return ""
    default = secrets.MASK if is_secret and action.default is not None else action.default
    try:
        return expand_help(place.parser, action, default=default).strip()
    except (ValueError, TypeError, KeyError):
        return action.help


def _text(place: Place, value: Any) -> str:
    taker = place.option.taker
    scalar = values.scalar(taker, value) if taker else value
    return written(str(scalar))
