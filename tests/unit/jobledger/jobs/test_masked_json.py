"""Masks that come back stand for what they masked, and for nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.jobs import masked_json, secrets
from jobledger.jobs.secrets import MASK

STORED = {"api_key": "s3cret", "days": 7, "login": {"password": "pw", "user": "ann"}}
MASKED = {"api_key": MASK, "days": 7, "login": {"password": MASK, "user": "ann"}}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "a", MASK[:3]]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["token", "days", "password", "list"]), inner, max_size=3)
    ),
    max_leaves=10,
)


def test_masks_that_were_shown_are_the_stored_values() -> None:
    assert masked_json.unmasked({**MASKED, "days": 8}, STORED, MASKED) == {**STORED, "days": 8}


def test_a_secret_is_replaced_by_what_is_typed_over_its_mask() -> None:
    assert masked_json.unmasked({"api_key": "new"}, STORED, MASKED) == {"api_key": "new"}


@pytest.mark.parametrize("posted", [{"days": MASK}, {"other": MASK}, MASK, [MASK], {"api_key": [MASK]}])
def test_a_mask_in_another_place_stands_for_nothing(posted: Any) -> None:
    with pytest.raises(masked_json.UnknownMaskError, match="there is none in this place"):
        masked_json.unmasked(posted, STORED, MASKED)


@given(st.dictionaries(st.sampled_from(["token", "days", "login", "list"]), VALUES, max_size=4))
def test_what_is_posted_as_it_was_shown_is_what_is_stored(stored: dict[str, Any]) -> None:
    masked = secrets.masked("no.job", stored)
    assert masked_json.unmasked(masked, stored, masked) == stored


def test_a_text_that_says_the_same_is_kept() -> None:
    assert masked_json.text_of({"a": 1}, '{"a":1}') == '{"a":1}'
    assert masked_json.text_of({"a": 2}, '{"a":1}') == '{"a": 2}'
    assert masked_json.text_of({}, "") == "{}"
    assert masked_json.text_of({}, "no json") == "{}"


def test_a_small_value_is_shown_in_one_line() -> None:
    assert masked_json.shown({"ä": 1}) == '{"ä": 1}'
    assert masked_json.shown({"a": 1, "b": 2}).count("\n") == 3
