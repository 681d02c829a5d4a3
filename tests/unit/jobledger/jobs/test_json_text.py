"""JSON typed by users is accepted if it can be stored, sent and displayed; otherwise there is an error."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.jobs import json_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@given(VALUES)
def test_valid_json_is_accepted(value: object) -> None:
    assert json_text.parse(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 3000 + "]" * 3000, "nested more than 50 levels"),
        ('{"a":' * 3000 + "1" + "}" * 3000, "nested more than 50 levels"),
        ("[" * 51 + "]" * 51, "nested more than 50 levels"),
        (r'{"\ud800": 1}', "a lone surrogate"),
        (r'["\udfff"]', "a lone surrogate"),
        ('{"a": NaN}', "NaN is not valid JSON"),
        ('{"a": 1e400}', "a number that is too large"),
        ("{", "line 1 column 2"),
    ],
)
def test_a_value_that_cannot_be_stored_is_rejected_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        json_text.parse(text)


def test_fifty_levels_are_accepted() -> None:
    assert json_text.parse("[" * 50 + "]" * 50)


def test_a_text_with_the_same_value_is_kept() -> None:
    assert json_text.format_for_storage({"a": 1}, '{"a":1}') == '{"a":1}'
    assert json_text.format_for_storage({"a": 2}, '{"a":1}') == '{"a": 2}'
    assert json_text.format_for_storage({}, "") == "{}"
    assert json_text.format_for_storage({}, "no json") == "{}"


def test_a_small_value_is_formatted_in_one_line() -> None:
    assert json_text.format_for_editing({"ä": 1}) == '{"ä": 1}'
    assert json_text.format_for_editing({"a": 1, "b": 2}).count("\n") == 3


def test_a_text_among_other_values_has_no_quotes() -> None:
    assert json_text.format_inline("a b") == "a b"
    assert json_text.format_inline(["ä"]) == '["ä"]'


@pytest.mark.parametrize("value", [{}, {"a": "x" * 90}, [[[]]], "é" * 49])
def test_a_value_within_its_bounds_is_accepted(value: Any) -> None:
    json_text.check_bounds(value, 100)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": "x" * 100}, "109 bytes as JSON are more than the 100 allowed"),
        ("é" * 50, "102 bytes"),
        ("\ud800" * 200, "202 bytes"),
        (nested(51), "nested more than 50 levels deep"),
        (nested(5000), "nested more than 50 levels deep"),
    ],
    ids=["long", "not ASCII", "half characters", "deep", "deeper than Python goes"],
)
def test_a_value_out_of_its_bounds_is_refused(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        json_text.check_bounds(value, 100)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "this is not valid JSON: "),
        ("[1]", "expected a JSON object"),
        ('{"a": NaN}', "NaN is not valid"),
    ],
)
def test_options_are_an_object(text: str, problem: str) -> None:
    assert json_text.parse_options('{"days": 7}') == {"days": 7}
    with pytest.raises(ValueError, match=problem):
        json_text.parse_options(text)
