"""What the argument types of the sample jobs accept, and their errors."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from tasks_app import parser_types


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parser_types.whole_number(0, 10), "0", 0),
        (parser_types.whole_number(0, 10), "10", 10),
        (parser_types.day, "2024-02-29", date(2024, 2, 29)),
        (parser_types.tag, "gift", "gift"),
        (parser_types.tag, "Größe-L", "Größe-L"),
        (parser_types.user_id, "42", 42),
    ],
)
def test_a_valid_text_is_converted(parse: Callable[[str], Any], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "reason"),
    [
        (parser_types.whole_number(1, 10), "0", "0 is not between 1 and 10"),
        (parser_types.whole_number(1, 10), "11", "11 is not between 1 and 10"),
        (parser_types.whole_number(1, 10), "-1", "-1 is not between 1 and 10"),
        (parser_types.whole_number(1, 10), "1.5", "'1.5' is not a whole number"),
        (parser_types.day, "2026-02-29", "'2026-02-29' is not a day in the format YYYY-MM-DD"),
        (parser_types.day, "20260228", "'20260228' is not a day in the format YYYY-MM-DD"),
        (parser_types.day, "2026-W01-1", "'2026-W01-1' is not a day in the format YYYY-MM-DD"),
        (parser_types.day, "9999-12-31", "9999-12-31 is not between 1970-01-01 and 2999-12-31"),
        (parser_types.day, "0001-01-01", "0001-01-01 is not between 1970-01-01 and 2999-12-31"),
        (parser_types.tag, "", "'' is not a tag; a tag is a single word"),
        (parser_types.tag, "a b", "'a b' is not a tag; a tag is a single word"),
        (parser_types.tag, "a,b", "'a,b' contains a comma; separate tags with spaces"),
        (parser_types.tag, "x" * 51, f"'{'x' * 51}' is longer than 50 characters"),
        (parser_types.user_id, "anna", "“anna” value must be an integer."),
    ],
)
def test_an_invalid_text_is_rejected_with_the_reason(
    parse: Callable[[str], Any], text: str, reason: str
) -> None:
    with pytest.raises(ArgumentTypeError) as raised:
        parse(text)
    assert str(raised.value) == reason
