"""The structure of command lines."""

from contextlib import suppress

import pytest
from hypothesis import given

from jobledger.crontab.shell import ShellError, Word
from jobledger.crontab.syntax import Command, Group, Script, Simple, script_of
from tests.unit.jobledger.crontab.test_shell import SHELL_TEXT


def outline(script: Script) -> str:
    """The same line, with its structure in brackets."""
    return " ".join(
        ("! " if each.is_negated else "")
        + " | ".join(map(_outline, each.commands))
        + (f" {each.separator}" if each.separator else "")
        for each in script.pipelines
    )


def _outline(command: Command) -> str:
    redirections = "".join(
        f" {each.descriptor}{each.operator}{_text(each.target)}" for each in command.redirections
    )
    match command:
        case Group(script=script):
            return f"[{outline(script)}]{redirections}"
        case Simple(assignments=assignments, words=words):
            parts = [f"{name}:={_text(value)}" for name, value in assignments]
            return " ".join([*parts, *map(_text, words)]) + redirections


def _text(word: Word) -> str:
    return "".join(part.text for part in word.parts)


@given(line=SHELL_TEXT)
def test_any_text_has_a_structure_or_an_error(line: str) -> None:
    with suppress(ShellError):
        script_of(line)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ""),
        ("a b", "a b"),
        ("a && b || c; d & e", "a && b || c ; d & e"),
        ("a | b | c", "a | b | c"),
        ("! a", "! a"),
        ("(a; b) > f", "[a ; b] >f"),
        ("{ a; b; } 2>>f", "[a ; b ;] 2>>f"),
        ("((a))", "[[a]]"),
        ("A=1 B='x y' a C=2", "A:=1 B:=x y a C=2"),
        ("A=1; b", "A:=1 ; b"),
        (">f a <g b", "a b >f <g"),
        ("a\nb\n", "a ; b ;"),
        ("echo if", "echo if"),
        ("'{' a '}'", "{ a }"),
    ],
)
def test_a_line_has_this_structure(line: str, expected: str) -> None:
    assert outline(script_of(line)) == expected


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("a &&& b", "is not expected"),
        ("a )", "')' is not expected"),
        ("(a", "')' is missing"),
        ("{ a; ", "'}' is missing"),
        ("a > ; b", "'>' has no target"),
        ("a |", "a command is missing"),
        ("; a", "';' is not expected"),
        ("if a; then b; fi", "it is a script (`if`)"),
        ("(" * 50 + "a" + ")" * 50, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_has_an_error(line: str, error: str) -> None:
    with pytest.raises(ShellError) as raised:
        script_of(line)
    assert error in str(raised.value)
