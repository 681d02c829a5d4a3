"""The tests of the manual fail when they should."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.manual import ROOT, Block
from tests.terminal import Done, Terminal, is_as_shown, terminal, type_in


def block(*lines: str) -> Block:
    return Block(page=ROOT / "README.md", line=1, language="console", lines=lines)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Terminal]:
    with terminal(tmp_path, dict(os.environ)) as opened:
        yield opened


def test_a_command_prints_and_exits(shell: Terminal) -> None:
    assert shell.run("echo out; echo err >&2; exit_with() { return $1; }; exit_with 3") == Done(
        output="out\nerr\n", exit_code=3
    )


def test_commands_see_the_variables_set_by_earlier_ones(shell: Terminal) -> None:
    shell.run("a=b; cd /")
    assert shell.run("echo $a; pwd").output == "b\n/\n"


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["a  b"], "a\tb\n"),
        (["a … d"], "a b c d\n"),
        (["a", "…", "d"], "a\nb\nc\nd\n"),
        (["a", "…"], "\na\n"),
        (["…"], ""),
    ],
)
def test_matching_output_is_accepted(shown: list[str], printed: str) -> None:
    assert is_as_shown(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["a"], "b\n"),
        (["a"], "a\nb\n"),
        (["a"], ""),
        (["a", "…", "d"], "a\nb\n"),
        (["a.c"], "abc\n"),
    ],
)
def test_other_output_is_rejected(shown: list[str], printed: str) -> None:
    assert not is_as_shown(shown, printed)


@pytest.mark.parametrize(
    "lines",
    [
        ("$ echo a", "b"),
        ("$ false",),
        ("$ false", "$ echo a"),
        ("$ false", "$ echo $?", "2"),
    ],
)
def test_a_block_that_is_wrong_fails(shell: Terminal, lines: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError):
        type_in(shell, block(*lines))


def test_a_block_that_is_right_passes(shell: Terminal) -> None:
    lines = ("$ echo a; false", "a", "$ echo $?", "1", "$ echo \\", "  b", "b", "$ echo 'c", "d'", "c", "d")
    type_in(shell, block(*lines))
