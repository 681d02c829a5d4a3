"""The structure of a command line: lists of pipelines of commands, with their redirections.

Covers what people write into crontabs: ``&&``, ``||``, ``;``, ``&``, pipes, subshells, groups, assignments
and redirections. A script with ``if`` or loops raises ShellError.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from posixpath import basename

from jobledger.crontab.shell import Operator, Part, ShellError, Token, Word, tokens_of

_REDIRECTIONS = frozenset({"&>>", "<<<", "<<-", ">>", "<<", ">&", "<&", "<>", ">|", "&>", "<", ">"})
_SEPARATORS = frozenset({";", "\n", "&", "&&", "||"})
_KEYWORDS = frozenset({"if", "for", "while", "until", "case", "select", "function", "[["})
_LOGS = frozenset({"cat", "logger", "rotatelogs", "systemd-cat", "tee", "ts"})
"""Commands that only write down what they read."""
MAX_DEPTH = 20


@dataclass(frozen=True, kw_only=True)
class Redirection:
    """``2>>file``, and so on."""

    operator: str
    descriptor: str
    target: Word

    @property
    def is_extra(self) -> bool:
        """Whether it is of none of the standard streams."""
        return self.descriptor not in ("", "0", "1", "2")


@dataclass(frozen=True, kw_only=True)
class Simple:
    """A command, or assignments only."""

    assignments: tuple[tuple[str, Word], ...] = ()
    words: tuple[Word, ...] = ()
    redirections: tuple[Redirection, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Group:
    """A list in brackets."""

    script: "Script"
    is_subshell: bool = False
    """Whether the brackets are round."""
    redirections: tuple[Redirection, ...] = ()


Command = Simple | Group


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """One or more commands, and the operator that follows them."""

    commands: tuple[Command, ...]
    is_negated: bool = False
    separator: str = ""
    """``;``, ``&``, ``&&``, ``||``, or empty at the end."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """A list of pipelines."""

    pipelines: tuple[Pipeline, ...]


def script_of(text: str) -> Script:
    """The structure of a command line. Raises ShellError."""
    parser = _Parser(tokens_of(text))
    script = parser.script(depth=0)
    if (token := parser.peek()) is not None:
        raise _unexpected(token)
    return script


def program_names(commands: Sequence[Command]) -> Iterator[str]:
    """The names of all programs, without the folder of those that the system brings along."""
    for command in commands:
        match command:
            case Group(script=script):
                for pipeline in script.pipelines:
                    yield from program_names(pipeline.commands)
            case Simple(words=words):
                literal = (words[0].literal or "") if words else ""
                yield literal.removeprefix("/usr").removeprefix("/bin/")


def name_written(command: Command) -> str:
    """The name of a command, for a message: its arguments may contain secrets."""
    match command:
        case Simple(words=[word, *_]):
            return f"`{''.join(part.text for part in word.parts)}`"
    return "a group of commands"


def lists_of(script: Script) -> Iterator[Sequence[Pipeline]]:
    """The pipelines that are joined by ``&&`` and ``||``, which also go to the background together."""
    joined: list[Pipeline] = []
    for pipeline in script.pipelines:
        joined.append(pipeline)
        if pipeline.separator not in ("&&", "||"):
            yield joined
            joined = []
    if joined:
        yield joined


def name_of(pipeline: Pipeline) -> str:
    """The name of its only command; empty if it has several."""
    names = list(program_names(pipeline.commands))
    return names[0] if len(names) == 1 else ""


def only_exits(pipeline: Pipeline) -> bool:
    """Whether it does nothing but print and exit, as in ``cd /srv || exit 1``."""
    names = list(program_names(pipeline.commands))
    return bool(names) and set(names) <= {"exit", "echo", "false"}


def ends_line(pipeline: Pipeline) -> bool:
    """Whether the shell exits once it gets there, and does not merely leave a subshell."""
    match pipeline.commands:
        case [Simple(words=[Word(literal="exit"), *_])]:
            return True
        case [Group(is_subshell=False, script=script)]:
            return any(map(_ends_line_surely, lists_of(script)))
    return False


def _ends_line_surely(joined: Sequence[Pipeline]) -> bool:
    """Whether ``exit`` comes first, or after ``echo``, which does not fail."""
    for pipeline in joined:
        if ends_line(pipeline):
            return joined[-1].separator != "&"
        if name_of(pipeline) != "echo" or pipeline.separator != "&&":
            break
    return False


def exits_with_error(pipeline: Pipeline) -> bool:
    match pipeline.commands:
        case [Simple(words=[Word(literal="exit"), Word(literal=str(code)), *_])]:
            return code != "0"
    # Without a number, it exits with the code of the command before.
    return name_of(pipeline) == "exit"


def is_log(command: Command) -> bool:
    match command:
        case Simple(words=[word, *_]):
            return basename(word.literal or "") in _LOGS
    return False


class _Parser:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def script(self, depth: int) -> Script:
        if depth > MAX_DEPTH:
            raise ShellError("it is nested too deeply")
        pipelines = []
        while self._begins_command():
            pipelines.append(self._pipeline(depth))
            if not pipelines[-1].separator:
                break
        return Script(pipelines=tuple(pipelines))

    def _begins_command(self) -> bool:
        while self._is_operator("\n"):
            self._at += 1
        token = self.peek()
        ends = token is None or self._is_word("}") or self._is_operator(")")
        return not ends

    def _pipeline(self, depth: int) -> Pipeline:
        is_negated = self._is_word("!")
        self._at += is_negated
        commands = [self._command(depth)]
        while self._is_operator("|"):
            self._at += 1
            commands.append(self._command(depth))
        return Pipeline(commands=tuple(commands), is_negated=is_negated, separator=self._separator())

    def _separator(self) -> str:
        match self.peek():
            case Operator(text=text) if text in _SEPARATORS:
                self._at += 1
                return ";" if text == "\n" else text
        return ""

    def _command(self, depth: int) -> Command:
        for opening, closing in ("(", ")"), ("{", "}"):
            if self._is_operator(opening) or self._is_word(opening):
                return self._group(closing, depth)
        return self._simple()

    def _group(self, closing: str, depth: int) -> Group:
        self._at += 1
        script = self.script(depth + 1)
        if not (self._is_operator(closing) or self._is_word(closing)):
            raise ShellError(f"{closing!r} is missing")
        self._at += 1
        redirections = tuple(self._redirections())
        return Group(script=script, is_subshell=closing == ")", redirections=redirections)

    def _redirections(self) -> list[Redirection]:
        found = []
        while (redirection := self._redirection()) is not None:
            found.append(redirection)
        return found

    def _simple(self) -> Simple:
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        redirections: list[Redirection] = []
        while True:
            if (redirection := self._redirection()) is not None:
                redirections.append(redirection)
                continue
            match self.peek():
                case Word() as word if not words and (assigned := _assignment(word)):
                    assignments.append(assigned)
                case Word() as word:
                    words.append(word)
                case token:
                    break
            self._at += 1
        if not (assignments or words or redirections):
            raise _unexpected(token)
        if words and words[0].literal in _KEYWORDS:
            raise ShellError(f"it is a script (`{words[0].literal}`)")
        return Simple(assignments=tuple(assignments), words=tuple(words), redirections=tuple(redirections))

    def _redirection(self) -> Redirection | None:
        match self.peek():
            case Operator(text=text, descriptor=descriptor) if text in _REDIRECTIONS:
                self._at += 1
                target = self.peek()
                if not isinstance(target, Word):
                    raise ShellError(f"{text!r} has no target")
                self._at += 1
                return Redirection(operator=text, descriptor=descriptor, target=target)
        return None

    def _is_operator(self, text: str) -> bool:
        token = self.peek()
        return isinstance(token, Operator) and token.text == text

    def _is_word(self, text: str) -> bool:
        token = self.peek()
        return isinstance(token, Word) and token.literal == text


def _unexpected(token: Token | None) -> ShellError:
    match token:
        case Operator(text=text):
            return ShellError(f"{text!r} is not expected there")
        case Word(literal=str(text)):
            return ShellError(f"{text!r} is not expected there")
    return ShellError("a command is missing")


def _assignment(word: Word) -> tuple[str, Word] | None:
    """The name and the value, if the word is ``NAME=value``."""
    first, *others = word.parts
    name, equals, rest = first.text.partition("=")
    if first.is_quoted or first.kind != "text" or not equals:
        return None
    if not (name.isascii() and name.replace("_", "a").isalnum()) or name[0].isdigit():
        return None
    return name, Word(parts=(Part(kind=first.kind, text=rest), *others))
