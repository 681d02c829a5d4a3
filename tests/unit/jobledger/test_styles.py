"""Style sheets use only colours and sizes that the pages which load them have."""

import re
from pathlib import Path

import django.contrib.admin
import pytest

import jobledger

OURS = Path(jobledger.__file__).parent / "static" / "jobledger"
DJANGOS = Path(django.contrib.admin.__file__).parent / "static" / "admin" / "css" / "base.css"
# Pages of other apps load it alone, and all the service's own pages the latter.
SITE, PAGES = OURS / "site.css", OURS / "pages.css"


def used(sheet: Path) -> set[str]:
    return set(re.findall(r"var\((--[\w-]+)\)", sheet.read_text()))


def defined(*sheets: Path) -> set[str]:
    return {name for sheet in sheets for name in re.findall(r"(--[\w-]+):", sheet.read_text())}


@pytest.mark.parametrize("sheet", sorted(OURS.rglob("*.css")), ids=lambda path: str(path.relative_to(OURS)))
def test_every_variable_is_defined_on_each_page_with_the_style_sheet(sheet: Path) -> None:
    shared = () if sheet == SITE else (PAGES,)
    assert used(sheet) - defined(sheet, DJANGOS, *shared) == set()
