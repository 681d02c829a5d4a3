"""Words and operators of a command line, as sh splits it."""

import shlex
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.crontab.shell import Kind, Operator, ShellError, Word, tokens_of

SHELL_TEXT = st.text(alphabet="ab1 \t\n'\"\\$`(){}|&;<>#!*=~é", max_size=30)


def written(text: str) -> list[object]:
    """Operators as they are; words as a list of their parts."""
    return [_written(token) for token in tokens_of(text)]


def _written(token: Word | Operator) -> object:
    if isinstance(token, Operator):
        return token.descriptor + token.text
    return [(part.kind, part.text) for part in token.parts]


def text(*texts: str) -> list[tuple[Kind, str]]:
    return [(Kind.TEXT, each) for each in texts]


@given(line=st.text() | SHELL_TEXT)
def test_any_text_is_split_or_has_an_error(line: str) -> None:
    with suppress(ShellError):
        tokens_of(line)


@given(words=st.lists(st.text(alphabet="ab $`'\"\\;|&<>()#*~=\n", min_size=1), min_size=1))
def test_quoted_words_are_read_as_they_are(words: list[str]) -> None:
    tokens = tokens_of(shlex.join(words))
    assert [
        "".join(part.text for part in token.parts) for token in tokens if isinstance(token, Word)
    ] == words
    assert len(tokens) == len(words)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a  b\tc", [text("a"), text("b"), text("c")]),
        ("a;b", [text("a"), ";", text("b")]),
        ("a ';' b", [text("a"), text(";"), text("b")]),
        ("a&&b||c&", [text("a"), "&&", text("b"), "||", text("c"), "&"]),
        ("a >>f 2>&1", [text("a"), ">>", text("f"), "2>&", text("1")]),
        ("a 2 >f", [text("a"), text("2"), ">", text("f")]),
        ("a&>f", [text("a"), "&>", text("f")]),
        ("a # b' c", [text("a")]),
        ("a#b", [text("a#b")]),
        ("a'b c'\"d e\"\\ f", [text("a", "b c", "d e", " ", "f")]),
        ('""', [text("")]),
        ('"a\\"b\\c"', [text('a"b\\c')]),
        ("$A", [[(Kind.VARIABLE, "A")]]),
        ("${A}b", [[(Kind.VARIABLE, "A"), (Kind.TEXT, "b")]]),
        ("'$A'", [text("$A")]),
        ('"$A"', [[(Kind.TEXT, ""), (Kind.VARIABLE, "A"), (Kind.TEXT, "")]]),
        ("${A:-b}", [[(Kind.COMPUTED, "${A:-b}")]]),
        ("$(a ')' b)c", [[(Kind.COMPUTED, "$(a ')' b)"), (Kind.TEXT, "c")]]),
        ("`a b`", [[(Kind.COMPUTED, "`a b`")]]),
        ("$((1 + 2))", [[(Kind.COMPUTED, "$((1 + 2))")]]),
        ("$1 $? a$", [[(Kind.COMPUTED, "$1")], [(Kind.COMPUTED, "$?")], text("a", "$")]),
        ("a\\\nb", [text("a", "b")]),
    ],
)
def test_a_line_is_split_as_by_sh(line: str, expected: list[object]) -> None:
    assert written(line) == expected


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("it's", "a single quote"),
        ('say "hi', "a double quote"),
        ("$(date", "$( is not closed"),
        ("${A", "${ is not closed"),
        ("`date", "a backquote"),
    ],
)
def test_what_is_not_closed_is_an_error(line: str, error: str) -> None:
    with pytest.raises(ShellError) as raised:
        tokens_of(line)
    assert error in str(raised.value)


def test_only_a_pattern_outside_quotes_is_one() -> None:
    [plain, quoted] = (token for token in tokens_of("*.txt '*.txt'") if isinstance(token, Word))
    assert [plain.parts[0].is_pattern, quoted.parts[0].is_pattern] == [True, False]
