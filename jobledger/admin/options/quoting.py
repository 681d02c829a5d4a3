"""Converts values to the text that a user would type into a form, and back.

Every value can be typed, most of them without quotes. Text that a form field would lose or change (empty
text, leading or trailing spaces, line breaks, leading quotes) is in double quotes, as in JSON. Lists have one
value per line; lists of lists have one list per line, its values separated by spaces.
"""

import json
import re
from collections.abc import Iterable

from jobledger.jobs import json_text

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"(?!\S)|\S+')


def quote(value: str) -> str:
    """The value on a single line, quoted if necessary."""
    is_plain = value and value == value.strip() and not value.startswith('"') and value.isprintable()
    return value if is_plain else json.dumps(value, ensure_ascii=not value.isprintable())


def unquote(text: str) -> str:
    """The value of a line."""
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
    """The values of the lines; empty lines are ignored."""
    return [unquote(line) for line in _lines(text)]


def join_groups(groups: Iterable[Iterable[str]]) -> str:
    """One line per group of values."""
    return "\n".join(" ".join(map(_quote_word, values)) for values in groups)


def split_groups(text: str) -> list[list[str]]:
    """The values of each line."""
    return [[unquote(word) for word in _WORD.findall(line)] for line in _lines(text)]


def _lines(text: str) -> list[str]:
    return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]


def _quote_word(value: str) -> str:
    has_space = any(character.isspace() for character in value)
    return json.dumps(value, ensure_ascii=False) if has_space else quote(value)
