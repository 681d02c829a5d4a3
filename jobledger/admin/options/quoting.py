"""Values as a user types them into a form, and back: every value can be typed, most without quotes.

A text that a field would lose or break (empty, with blanks at its ends, over several lines, in quotes) is
in double quotes, as in JSON. A list has a value on each line; a list of lists has one list on each line,
its values separated by blanks.
"""

import json
import re
from collections.abc import Iterable

from jobledger.jobs import json_text

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"(?!\S)|\S+')


def quote(value: str) -> str:
    """The value in one line, quoted where it must be."""
    is_plain = value and value == value.strip() and not value.startswith('"') and value.isprintable()
    return value if is_plain else json.dumps(value, ensure_ascii=not value.isprintable())


def unquote(text: str) -> str:
    """The value that a line holds."""
    text = text.strip()
    if not text.startswith('"'):
        return text
    try:
        value = json_text.parse(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def join_lines(values: Iterable[str]) -> str:
    return "\n".join(map(quote, values))


def split_lines(text: str) -> list[str]:
    """The values of the lines; an empty line has none."""
    return [unquote(line) for line in _lines(text)]


def join_groups(groups: Iterable[Iterable[str]]) -> str:
    """A line for each group of values."""
    return "\n".join(" ".join(map(_quote_word, values)) for values in groups)


def split_groups(text: str) -> list[list[str]]:
    """The values in each of the lines."""
    return [[unquote(word) for word in _WORD.findall(line)] for line in _lines(text)]


def _lines(text: str) -> list[str]:
    return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]


def _quote_word(value: str) -> str:
    has_blank = any(character.isspace() for character in value)
    return json.dumps(value, ensure_ascii=False) if has_blank else quote(value)
