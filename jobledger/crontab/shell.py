"""Splits a command line into words and operators, as ``sh`` does.

The standard library's ``shlex`` removes quotes without a trace: afterwards, a quoted ``;`` looks like an
operator, and a ``$`` in single quotes like a variable. So a word is kept as its parts here, of which the
shell takes some literally, replaces variables in others, and computes the rest (``$(date)``). Nothing is
executed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_OPERATORS = (
    *("&>>", "<<<", "<<-"),
    *("&&", "||", ";;", ">>", "<<", ">&", "<&", "<>", ">|", "&>"),
    *(";", "&", "|", "(", ")", "<", ">", "\n"),
)
_BLANKS = " \t\r"
_ENDS_OF_WORDS = _BLANKS + "\n;&|()<>"
_ESCAPED_IN_DOUBLE_QUOTES = '$`"\\'
_PATTERN_CHARACTERS = frozenset("*?[")


class ShellError(ValueError):
    """A command line that the shell could not read, or that is not understood here; the message says why."""


class Kind(StrEnum):
    TEXT = "text"
    VARIABLE = "variable"
    """Its text is the variable's name."""
    COMPUTED = "computed"
    """Whatever else the shell replaces, as written."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a word."""

    kind: Kind
    text: str
    is_quoted: bool = False

    @property
    def is_pattern(self) -> bool:
        """Whether the shell may replace it by the names of files."""
        return self.kind is Kind.TEXT and not self.is_quoted and is_pattern(self.text)


def is_pattern(text: str) -> bool:
    """Whether it matches names of files, as ``*.csv`` does."""
    return bool(_PATTERN_CHARACTERS & set(text))


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word, such as ``"$DIR"/manage.py``."""

    parts: tuple[Part, ...]

    @property
    def literal(self) -> str | None:
        """Its text if nothing in it is quoted or replaced, as in keywords; else None."""
        is_plain = all(part.kind is Kind.TEXT and not part.is_quoted for part in self.parts)
        return "".join(part.text for part in self.parts) if is_plain else None


@dataclass(frozen=True, kw_only=True)
class Operator:
    """An operator, such as ``&&``."""

    text: str
    descriptor: str = ""
    """The number right before a redirection, as in ``2>``."""


Token = Word | Operator


def tokens_of(text: str) -> list[Token]:
    """The words and operators, without comments. Raises ShellError."""
    return list(_Lexer(text).tokens())


class _Lexer:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def tokens(self) -> Iterator[Token]:
        while self._skip_blanks_and_comments():
            if operator := self._operator():
                yield Operator(text=operator)
                continue
            word = Word(parts=tuple(self._parts()))
            if self._text[self._at : self._at + 1] in ("<", ">") and (word.literal or "").isdecimal():
                yield Operator(text=self._operator(), descriptor=word.literal or "")
            elif word.parts:
                yield word

    def _skip_blanks_and_comments(self) -> bool:
        """Whether there is anything left."""
        while (character := self._peek()) and character in _BLANKS:
            self._at += 1
        if character == "#":
            end = self._text.find("\n", self._at)
            self._at = len(self._text) if end < 0 else end
        return self._at < len(self._text)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _operator(self) -> str:
        for operator in _OPERATORS:
            if self._text.startswith(operator, self._at):
                self._at += len(operator)
                return operator
        return ""

    def _parts(self) -> Iterator[Part]:
        while (character := self._peek()) and character not in _ENDS_OF_WORDS:
            match character:
                case "'":
                    yield Part(kind=Kind.TEXT, text=self._until_quote(), is_quoted=True)
                case '"':
                    yield from self._in_double_quotes()
                case "\\":
                    yield from self._escaped()
                case "$" | "`":
                    yield self._expansion(is_quoted=False)
                case _:
                    yield Part(kind=Kind.TEXT, text=self._plain())

    def _plain(self) -> str:
        start = self._at
        while (character := self._peek()) and character not in _ENDS_OF_WORDS + "'\"\\$`":
            self._at += 1
        return self._text[start : self._at]

    def _until_quote(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise ShellError("a single quote (') is not closed")
        text, self._at = self._text[self._at + 1 : end], end + 1
        return text

    def _escaped(self) -> Iterator[Part]:
        """After a backslash; a newline after it is removed, too."""
        character = self._text[self._at + 1 : self._at + 2]
        self._at += 2
        if character != "\n":
            yield Part(kind=Kind.TEXT, text=character or "\\", is_quoted=True)

    def _in_double_quotes(self) -> Iterator[Part]:
        self._at += 1
        text = ""
        while (character := self._peek()) != '"':
            if not character:
                raise ShellError('a double quote (") is not closed')
            if character in "$`":
                yield Part(kind=Kind.TEXT, text=text, is_quoted=True)
                text = ""
                yield self._expansion(is_quoted=True)
            else:
                text += self._character_in_double_quotes(character)
        self._at += 1
        # Also if it is empty, since "" is a word.
        yield Part(kind=Kind.TEXT, text=text, is_quoted=True)

    def _character_in_double_quotes(self, character: str) -> str:
        following = self._text[self._at + 1 : self._at + 2]
        if character == "\\" and following and following in _ESCAPED_IN_DOUBLE_QUOTES + "\n":
            self._at += 2
            return following.strip("\n")
        self._at += 1
        return character

    def _expansion(self, *, is_quoted: bool) -> Part:
        """What begins with a dollar sign or a backquote."""
        rest = self._text[self._at :]
        if rest[0] == "$" and (name := _name_at(rest, 1)):
            return self._taken(len(name) + 1, Kind.VARIABLE, name, is_quoted=is_quoted)
        if (name := _name_at(rest, 2)) and rest.startswith(f"${{{name}}}"):
            return self._taken(len(name) + 3, Kind.VARIABLE, name, is_quoted=is_quoted)
        length = _length_of_computed(rest, is_quoted=is_quoted)
        kind = Kind.COMPUTED if length > 1 else Kind.TEXT
        return self._taken(length, kind, rest[:length], is_quoted=is_quoted or kind is Kind.TEXT)

    def _taken(self, length: int, kind: Kind, text: str, *, is_quoted: bool) -> Part:
        self._at += length
        return Part(kind=kind, text=text, is_quoted=is_quoted)


def _name_at(text: str, start: int) -> str:
    """The name of a variable that begins here; empty if there is none."""
    end = start
    while end < len(text) and text[end].isascii() and (text[end].isalnum() or text[end] == "_"):
        end += 1
    return "" if text[start:end][:1].isdigit() else text[start:end]


def _length_of_computed(text: str, *, is_quoted: bool) -> int:
    """The length of ``$(…)``, ``${…}``, a backquoted command, or ``$1``; 1 for a mere dollar sign."""
    following = text[1:2]
    if text[0] == "`":
        return _closed(text, text.find("`", 1), "a backquote (`)")
    if following in ("(", "{"):
        return _closed(text, _end_of_brackets(text), f"${following}")
    if following == "'" and not is_quoted:
        return _closed(text, text.find("'", 2), "a single quote (')")
    return 2 if following and (following.isdigit() or following in "?$!@*#-") else 1


def _closed(text: str, end: int, what: str) -> int:
    if end < 0:
        raise ShellError(f"{what} is not closed")
    return end + 1


def _end_of_brackets(text: str) -> int:
    """The position of the bracket that closes the first one, without those in quotes; -1 if there is none."""
    opening, closing = ("(", ")") if text[1] == "(" else ("{", "}")
    depth, quote, position = 0, "", 1
    while position < len(text):
        character = text[position]
        if character == "\\" and quote != "'":
            position += 1
        elif quote or character in "'\"":
            quote = "" if character == quote else quote or character
        elif character in (opening, closing):
            depth += 1 if character == opening else -1
            if depth == 0:
                return position
        position += 1
    return -1
