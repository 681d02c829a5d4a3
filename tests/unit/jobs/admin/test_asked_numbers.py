"""Whole numbers are read from what a browser sends, and nothing else is taken for one."""

import pytest

from tasks_app.jobs.admin.asked_numbers import number_in


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("12", 12), ("007", 7), ("999999999", 999_999_999)])
def test_a_number_is_read(text: str, number: int) -> None:
    assert number_in(text) == number


@pytest.mark.parametrize("text", ["", "-1", "1.5", " 1", "٣", "²", "1e3", "x", "9" * 10, "9" * 5000])
def test_what_is_none_is_none(text: str) -> None:
    assert number_in(text) is None
