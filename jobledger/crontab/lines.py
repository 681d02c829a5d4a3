"""Reads a crontab line by line, as Debian's cron does, without losing a byte.

``parse`` never fails: a line that cannot be read is ``Invalid``, with the reason. The sources of all
lines, joined, are the text. So a crontab can be written again with some of its commands replaced::

    lines = parse(decoded(file.read_bytes()))
    text = "".join(
        f"{line.before}{wrapped(line.command)}{line.ending}" if isinstance(line, Entry) else line.source
        for line in lines
    )
    file.write_bytes(encoded(text))

A command is kept as it is written, with ``%`` still escaped; ``shell_command`` is what the shell gets. The
``variables`` of an entry are those of the lines above it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from jobledger.schedules.rules.cron_expression import MACROS, NeverMatchesError
from jobledger.schedules.rules.cron_expression import parse as parse_time
from jobledger.schedules.rules.slots import RuleError

BLANKS = " \t"
REBOOT = "@reboot"
CARRIAGE_RETURN = "\r"
_FIELD_COUNT = 5

# As cron's load_env() reads them; only a value in quotes can be followed by nothing but blanks.
_VARIABLE = re.compile(
    r"""\s*(?:"(?P<double>[^"=]+)"|'(?P<single>[^'=]+)'|(?P<plain>[^\s="'][^\s=]*))\s*=\s*"""
    r"""(?:"(?P<in_double>[^"]*)"\s*|'(?P<in_single>[^']*)'\s*|(?P<bare>(?!["']).*))""",
    re.DOTALL,
)
_BLANKS = re.compile(f"[{BLANKS}]+")
_WORD = re.compile(rf"[{BLANKS}]*[^{BLANKS}]+")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line that means nothing to cron: a blank one or a comment."""

    number: int
    """Counted from 1."""
    source: str
    """As it is in the file, with its ending."""

    @property
    def text(self) -> str:
        """Without its ending."""
        return self.source.removesuffix("\n").removesuffix(CARRIAGE_RETURN)

    @property
    def ending(self) -> str:
        """``\\n`` or ``\\r\\n``; empty if the file ends without a newline."""
        return self.source[len(self.text) :]


@dataclass(frozen=True, kw_only=True)
class Comment(Line):
    """A comment."""

    @property
    def comment(self) -> str:
        """Its words."""
        return self.text.lstrip(BLANKS).lstrip("#").strip()


@dataclass(frozen=True, kw_only=True)
class Variable(Line):
    """``NAME = value``. It holds for the lines below it."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Entry(Line):
    """A time and a command."""

    time: str
    """Five fields, separated by single spaces, or a macro such as ``@daily``; it may be invalid."""
    user: str | None
    """The user column of a system crontab."""
    before: str
    """The source up to the command."""
    command: str
    """The command as cron reads it, with what follows an unescaped ``%``."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The values of the lines above. Cron does not expand variables in them."""
    comment: str = ""
    """The words of the comment lines right above, up to one that is a disabled line."""

    @property
    def shell_command(self) -> str:
        """What the shell gets: up to the first ``%``, with ``\\%`` as ``%`` and two backslashes as one."""
        return _split_at_percent(self.command)[0]

    @property
    def stdin(self) -> str | None:
        """What the command reads from its standard input; None without an unescaped ``%``."""
        return _split_at_percent(self.command)[1]


@dataclass(frozen=True, kw_only=True)
class Invalid(Line):
    """A line that is none of these: cron refuses it, or it does nothing."""

    problem: str


def decoded(content: bytes) -> str:
    """The text of a file. Bytes that are not UTF-8 are kept as lone surrogates."""
    return content.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """The content of a file with this text."""
    return text.encode("utf-8", "surrogateescape")


def parse(text: str, *, is_system: bool = False) -> list[Line]:
    """The lines of a user's crontab, or of one with a user column, such as those in ``/etc/cron.d``."""
    lines: list[Line] = []
    variables: dict[str, str] = {}
    for number, source in enumerate(_split(text), start=1):
        line = _line(Line(number=number, source=source), is_system=is_system)
        if isinstance(line, Variable):
            # Without changing what earlier entries have.
            variables = {**variables, line.name: line.value}
        if isinstance(line, Entry):
            line = replace(line, variables=variables, comment=_comment_above(lines))
        lines.append(line)
    return lines


def _split(text: str) -> list[str]:
    """At newlines only: str.splitlines() would also split at other characters."""
    parts = text.split("\n")
    lines = [f"{part}\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def _line(line: Line, *, is_system: bool) -> Line:
    text = line.text.lstrip(BLANKS)
    if not text.strip():
        return line
    if text.startswith("#"):
        return Comment(**vars(line))
    if found := _VARIABLE.fullmatch(line.text):
        value = _first(found, "in_double", "in_single") or (found["bare"] or "").rstrip()
        return Variable(**vars(line), name=_first(found, "double", "single", "plain"), value=value)
    return _entry(line, is_system=is_system)


def _first(found: re.Match[str], *groups: str) -> str:
    return next((found[group] for group in groups if found[group] is not None), "")


def _entry(line: Line, *, is_system: bool) -> Line:
    text = line.text
    time_words, position = _words(text, 0, 1 if text.lstrip(BLANKS).startswith("@") else _FIELD_COUNT)
    user_words, position = _words(text, position, 1 if is_system else 0)
    if problem := _problem(time_words, user_words, text[position:], is_system=is_system):
        return Invalid(**vars(line), problem=problem)
    return Entry(
        **vars(line),
        time=" ".join(time_words),
        user=user_words[0] if is_system else None,
        before=text[:position],
        command=text[position:],
    )


def _words(text: str, position: int, count: int) -> tuple[list[str], int]:
    """At most so many words from the position on, and the position of what follows them and their blanks."""
    words: list[str] = []
    while len(words) < count and (found := _WORD.match(text, position)):
        words.append(found[0].strip(BLANKS))
        position = found.end()
    blanks = _BLANKS.match(text, position)
    return words, blanks.end() if blanks else position


def _problem(time: Sequence[str], user: Sequence[str], command: str, *, is_system: bool) -> str:
    if time[0].startswith("@"):
        if time[0].lower() not in (*MACROS, REBOOT):
            return f"{time[0]!r} is unknown; cron knows {', '.join([*MACROS, REBOOT])}"
    elif len(time) < _FIELD_COUNT:
        return "it is neither five fields and a command, nor NAME=value, nor a comment"
    if is_system and not user:
        return "there is no user and no command after the time"
    return "" if command.strip() else "there is no command"


def _comment_above(lines: Sequence[Line]) -> str:
    words: list[str] = []
    for line in reversed(lines):
        if not isinstance(line, Comment) or _is_disabled(line):
            break
        words.insert(0, line.comment)
    return " ".join(filter(None, words))


def _is_disabled(comment: Comment) -> bool:
    """Whether it is a line for cron with a # in front of it, and says nothing about others."""
    match _line(Line(number=comment.number, source=comment.comment), is_system=False):
        case Variable():
            return True
        case Entry(time=time):
            return time.lower() == REBOOT or _is_time(time)
    return False


def _is_time(text: str) -> bool:
    try:
        parse_time(text)
    except NeverMatchesError:
        return True
    except RuleError:
        return False
    return True


def _split_at_percent(command: str) -> tuple[str, str | None]:
    """The command, and the rest with a newline for each ``%``, as in cron's do_command()."""
    is_escaped = False
    for position, character in enumerate(command):
        if character == "%" and not is_escaped:
            return _unescaped(command[:position]), _input(command[position + 1 :])
        is_escaped = character == "\\" and not is_escaped
    return _unescaped(command), None


def _unescaped(text: str) -> str:
    return re.sub(r"\\([%\\])", r"\1", text)


def _input(text: str) -> str:
    return "\n".join(part.replace(r"\%", "%") for part in re.split(r"(?<!\\)%", text))
