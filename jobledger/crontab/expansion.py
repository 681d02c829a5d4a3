"""What the shell makes of the words of a line, as far as the line and its crontab tell.

Variables are replaced by their values. What depends on the machine or the time (``$(date)``, ``*.csv``,
``~``) remains as written, and is marked as unknown; so do braces, in shells that expand them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobledger.crontab.shell import Kind, Part, Word, is_pattern
from jobledger.crontab.wrappers import NotUnderstoodError

SHELL = "SHELL"
PLAIN_SHELLS = frozenset({"ash", "busybox", "dash", "sh"})
"""They know neither ``{a,b}`` nor ``&>``; ``sh`` is taken for Debian's."""
_SET_BY_CRON = frozenset({"HOME", "LOGNAME", "PATH", "PWD", SHELL, "USER"})
_SEQUENCE = re.compile(r"(?:-?\d+\.\.-?\d+|[A-Za-z]\.\.[A-Za-z])(?:\.\.-?\d+)?")
_HIDDEN = "\0"


@dataclass(frozen=True, kw_only=True)
class Value:
    """A word after expansion."""

    text: str
    """As written, where the shell computes it."""
    is_known: bool = True


class Expansion:
    """Expands words one after another, with the variables that the line has assigned until then."""

    def __init__(self, crontab: Mapping[str, str], shell: str) -> None:
        self.shell = shell
        """The name of the shell that reads the words."""
        self.used: dict[str, None] = {}
        """The names of the crontab's variables that were replaced."""
        self.warnings: dict[str, None] = {}
        """What the shell does not do with the words as their author may have thought."""
        self._crontab = crontab
        self._own: Mapping[str, Value] = {}

    def assign(self, name: str, value: Value) -> None:
        # The mapping itself is never changed, so that copies do not share what is assigned later.
        self._own = {**self._own, name: value}

    def text_of(self, name: str) -> str:
        """The value of a variable; empty if neither the line nor the crontab sets it."""
        return self._own[name].text if name in self._own else self._crontab.get(name, "")

    def assigned(self, word: Word) -> Value:
        """The value that an assignment of the word gives to a variable; its braces remain."""
        fields = self._fields(word)
        text = " ".join(field.text for field in fields)
        return Value(text=text, is_known=all(field.is_known for field in fields))

    def values(self, word: Word) -> list[Value]:
        """The words that the shell makes of it. Raises NotUnderstoodError."""
        fields = self._fields(word)
        if has_braces(word) and not self._leaves_braces():
            return [Value(text=" ".join(field.text for field in fields), is_known=False)]
        is_quoted = any(part.is_quoted for part in word.parts)
        return [field for field in fields if field.text or is_quoted]

    def _fields(self, word: Word) -> list[Value]:
        fields = [Value(text="")]
        for number, part in enumerate(word.parts):
            first, *others = self._replaced(part, is_first=number == 0)
            last = fields[-1]
            fields[-1] = Value(text=last.text + first.text, is_known=last.is_known and first.is_known)
            fields += others
        return fields

    def _leaves_braces(self) -> bool:
        if self.shell not in PLAIN_SHELLS:
            return False
        self.warnings["in `sh`, braces as in `{a,b}` are not expanded, and are passed on as they are"] = None
        return True

    def _replaced(self, part: Part, *, is_first: bool) -> Sequence[Value]:
        match part.kind:
            case Kind.VARIABLE:
                return self._values_of(part)
            case Kind.TEXT:
                is_home = is_first and not part.is_quoted and part.text.startswith("~")
                return [Value(text=part.text, is_known=not (is_home or part.is_pattern))]
        return [Value(text=part.text, is_known=False)]

    def _values_of(self, part: Part) -> Sequence[Value]:
        value = self._value_of(part.text)
        if part.is_quoted:
            return [value]
        # Unlike braces and tildes, patterns are also expanded in the values of variables.
        return [
            Value(text=word, is_known=value.is_known and not is_pattern(word))
            for word in re.split(r"\s+", value.text)
        ]

    def _value_of(self, name: str) -> Value:
        if name in self._own:
            return self._own[name]
        if name not in self._crontab:
            if name in _SET_BY_CRON:
                return Value(text=f"${name}", is_known=False)
            raise NotUnderstoodError(f"it uses ${name}, which the crontab does not set")
        value = self._crontab[name]
        if "$" in value:
            text = f"cron does not expand variables in values, and leaves the $ in that of {name} as it is"
            self.warnings[text] = None
        self.used[name] = None
        return Value(text=value)


def has_braces(word: Word) -> bool:
    """Whether it has braces that bash expands: ``{a,b}`` or ``{1..9}``, not in quotes."""
    opened: list[int] = []
    listed: set[int] = set()
    text = "".join(_visible(part) for part in word.parts)
    for position, character in enumerate(text):
        if character == "{":
            opened.append(position)
        elif character == "," and opened:
            listed.add(opened[-1])
        elif character == "}" and opened:
            start = opened.pop()
            if start in listed or _SEQUENCE.fullmatch(text, start + 1, position):
                return True
    return False


def _visible(part: Part) -> str:
    return part.text if part.kind is Kind.TEXT and not part.is_quoted else _HIDDEN
