"""README and ``docs/`` parsed for tests: pages, their fenced blocks, and the commands in those.

Every block is executed by some test. ``console`` blocks are a reader's terminal; ``python`` blocks are
files, named in their first line; ``ini`` blocks are lines of ``.env``; ``text`` blocks are diagrams. A block
that another test executes is preceded by ``<!-- executed by tests/path.py::test_name -->``. Where
the reader restarts the service, a comment tells the tests.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parent.parent
ADOPTING = ROOT / "docs" / "how-to" / "adopt-in-your-project.md"
"""The only page that is about a project of the reader's own."""

FENCE = "```"
RESTART = "<!-- restart the service -->"

_MARKER = re.compile(r"<!-- executed by (\S+) -->")
_FILE = re.compile(r"# (\S+\.py)")


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command and its documented output, which is empty if the page does not show any."""

    command: str
    output: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    language: str
    lines: tuple[str, ...]
    executed_by: str = ""
    """The test named by its marker; empty for the tests of the manual."""
    comes_after_a_restart: bool = False

    def __str__(self) -> str:
        """Its page and line."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def text(self) -> str:
        """Its content."""
        return "\n".join([*self.lines, ""])

    @property
    def file(self) -> str:
        """The path in the first line of a file; empty if there is none."""
        found = _FILE.fullmatch(self.lines[0]) if self.lines else None
        return found[1] if found else ""

    @property
    def is_a_file(self) -> bool:
        """Whether it is a Python file that the reader creates or extends."""
        return self.language == "python" and not self.executed_by

    @property
    def is_typed(self) -> bool:
        """Whether its commands are typed into a terminal while the service is running."""
        return self.language == "console" and not self.executed_by and not self.is_for_compose

    @property
    def is_for_compose(self) -> bool:
        """Whether its commands are for the containers of Compose."""
        return not self.executed_by and any(step.command.startswith("docker ") for step in self.steps)

    @property
    def steps(self) -> list[Step]:
        """The commands in order, each with its output."""
        return list(_steps(self)) if self.language == "console" else []


def pages() -> list[Path]:
    """README and the manual, without the decisions, which contain no instructions."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if page.parent.name != "decisions"]


def blocks_of(page: Path) -> Iterator[Block]:
    """The page's fenced blocks, in order. Raises ValueError for a fence that is indented or unclosed."""
    lines = iter(enumerate(page.read_text().splitlines(), start=1))
    before, restarts = "", False
    for number, line in lines:
        if line.startswith(FENCE):
            content = tuple(text for _, text in takewhile(lambda pair: pair[1] != FENCE, lines))
            marker = _MARKER.fullmatch(before)
            yield Block(
                page=page,
                line=number,
                language=line.removeprefix(FENCE),
                lines=content,
                executed_by=marker[1] if marker else "",
                comes_after_a_restart=restarts,
            )
            restarts = False
        elif FENCE in line:
            raise ValueError(f"{page}:{number}: a fence must start its line")
        before, restarts = line, restarts or line == RESTART


def all_blocks() -> list[Block]:
    """The blocks of all pages."""
    return [block for page in pages() for block in blocks_of(page)]


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of all tables between a heading and the next one, without the tables' header rows."""
    _, _, below = f"\n{page.read_text()}".partition(f"\n{heading}\n")
    assert below, f"{page} has no heading {heading!r}"
    lines = list(takewhile(lambda line: not line.startswith("#"), below.splitlines()))
    heads = {number - 1 for number, line in enumerate(lines) if line.startswith("| ---")}
    return [
        _cells(line)
        for number, line in enumerate(lines)
        if line.startswith("|") and number not in heads and number - 1 not in heads
    ]


def codes(text: str) -> list[str]:
    """The texts between backticks."""
    return re.findall(r"`([^`]+)`", text)


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|").replace("\\|", "\0")
    return [cell.strip().replace("\0", "|") for cell in inner.split("|")]


def _steps(block: Block) -> Iterator[Step]:
    lines = list(block.lines)
    while lines:
        line = lines.pop(0)
        if not line.startswith("$ "):
            raise ValueError(f"{block}: output without a command: {line!r}")
        command = line.removeprefix("$ ")
        while _goes_on(command):
            command += f"\n{lines.pop(0)}"
        output = tuple(takewhile(lambda text: not text.startswith("$ "), lines))
        del lines[: len(output)]
        yield Step(command=command, output=output)


def _goes_on(command: str) -> bool:
    """Whether the shell would ask for another line: after a backslash, or inside quotes."""
    try:
        shlex.split(command)
    except ValueError:
        return True
    return False
