"""Values as people write them into a form, and back: each can be written, and most look like themselves.

A text that a field would lose or break (empty, with blanks at its ends, over several lines, in quotes) is
written in double quotes, as in JSON. Lists have a value a line; where each value is a list again, its
words are parted by blanks.
"""

import json
import re
from collections.abc import Iterable

from tasks_app.jobs.defining import json_text

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
        value = json_text.read(text)
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
