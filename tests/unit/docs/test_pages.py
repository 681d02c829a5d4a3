"""README and the manual hold together: links lead somewhere, blocks are executed, commands exist."""

import re
import shlex
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from jobledger.jobs import registry
from jobledger.management.commands import jobledger as operator
from tests.manual import FENCE, ROOT, Block, all_blocks, codes, pages

MAX_PAGE_LINES = 120
MAX_README_LINES = 130
MAX_EXECUTED_ELSEWHERE = 10
DJANGOS_LABELS = {"Users", "Staff status", "Superuser status", "Save", "Can start cleanup_tokens"}
LANGUAGES = {"console", "python", "ini", "text"}

PAGES = pages()
MARKDOWN = [*PAGES, *sorted((ROOT / "docs" / "decisions").glob("*.md")), *ROOT.glob("[BCS]*.md")]
BLOCKS = all_blocks()

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(path: Path) -> str:
    """The page without its blocks."""
    return "".join(path.read_text().split(FENCE)[::2])


def anchors(path: Path) -> set[str]:
    """The headings' addresses, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def inline(beginning: str) -> list[tuple[str, list[str]]]:
    """The words of each command of this beginning that stands in a sentence, with its page."""
    return [
        (name_of(page), shlex.split(code)[1:])
        for page in PAGES
        for code in codes(prose(page))
        if code.removeprefix("./").startswith(f"{beginning} ")
    ]


@pytest.mark.parametrize("path", MARKDOWN, ids=name_of)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    links = [link for link in _LINK.findall(prose(path)) if "://" not in link]
    for link in links:
        address, _, anchor = link.partition("#")
        target = (path.parent / address).resolve() if address else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_page_is_short(path: Path) -> None:
    longest = MAX_README_LINES if path == ROOT / "README.md" else MAX_PAGE_LINES
    assert len(path.read_text().splitlines()) <= longest


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    named = {(index.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(index.read_text())}
    assert [name_of(page) for page in PAGES[1:] if page not in {index, *named}] == []


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_executed(block: Block) -> None:
    assert block.language in LANGUAGES, "name a language that the tests of the manual can execute"
    if block.executed_by:
        file, _, name = block.executed_by.partition("::")
        source = (ROOT / file).read_text()
        wanted = [f"def {name}("] if name else [step.command for step in block.steps]
        assert [text for text in wanted if text not in source] == []
    elif block.language == "console":
        assert block.steps
    elif block.language == "python":
        assert block.file, "the first line names the file: # tasks_app/management/commands/name.py"
        compile(block.text, block.file, "exec")
    elif block.language == "text":
        assert "$ " not in block.text


def test_few_blocks_are_executed_by_other_tests() -> None:
    assert len([block for block in BLOCKS if block.executed_by]) <= MAX_EXECUTED_ELSEWHERE


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "ini"], ids=str)
def test_lines_of_an_env_file_are_settings(block: Block) -> None:
    described = re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    names = [line.partition("=")[0] for line in block.lines]
    assert [name for name in names if name.removesuffix("_FILE") not in described] == []


@pytest.mark.parametrize(("where", "words"), inline("manage.py"))
def test_a_command_in_a_sentence_exists_with_its_options(where: str, words: list[str]) -> None:
    if command := _command(words):
        known = set(command.create_parser("manage.py", words[0])._option_string_actions)
        if words[:2] == ["jobledger", "call"]:
            jobs = [registry.all_jobs()[word] for word in words if word in registry.all_jobs()]
            known |= {string for job in jobs for string in job.create_parser()._option_string_actions}
        assert [word for word in words if word.startswith("--") and word not in known] == []


def _command(words: list[str]) -> BaseCommand | None:
    name, *rest = words
    if name == "jobledger" and rest and rest[0].islower() and not rest[0].startswith("-"):
        return operator.load(rest[0])
    return None if name in ("jobledger", "help") else load_command_class(get_commands()[name], name)


def labels() -> list[tuple[str, str]]:
    """What the manual sets in italics: the names of buttons, links, fields and pages."""
    return [
        (name_of(page), label)
        for page in PAGES
        for label in re.findall(r"(?<!\*)\*([^*]+)\*", re.sub(r"`[^`]*`|\*\*|\s+", " ", prose(page)))
    ]


@pytest.mark.parametrize(("where", "label"), labels())
def test_a_label_in_the_manual_exists_in_the_admin(where: str, label: str) -> None:
    files = [path for path in (ROOT / "jobledger").rglob("*.*") if path.suffix in (".py", ".html")]
    pattern = re.compile(rf"""[>"}}]\s*{re.escape(label.removesuffix("…"))}…?\s*[<"{{]""")
    assert label in DJANGOS_LABELS or any(pattern.search(path.read_text()) for path in files)


@pytest.mark.parametrize(("where", "words"), inline("make"))
def test_a_target_of_make_in_a_sentence_exists(where: str, words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{words[0]}:", makefile, flags=re.MULTILINE)
