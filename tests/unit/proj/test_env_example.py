"""Every line of ``.env.example`` can be taken over as it stands."""

import re

import pytest

from proj.state import BASE_DIR

LINES = re.findall(r"^# ([A-Z_]+=.*)$", (BASE_DIR / ".env.example").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("line", LINES)
def test_a_value_holds_no_comment(line: str) -> None:
    name, _, value = line.partition("=")
    assert "#" not in value
    assert value == value.strip()
    assert name


def test_there_are_lines() -> None:
    assert "PORT=8000" in LINES
