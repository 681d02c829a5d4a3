import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.admin.options.quoting import (
    join_groups,
    join_lines,
    quote,
    split_groups,
    split_lines,
    unquote,
)

TEXTS = st.text(st.sampled_from('ab "\\\n\r\t\x00é\u2028')) | st.text()


@given(TEXTS)
def test_every_text_can_be_typed(text: str) -> None:
    line = quote(text)
    assert "\n" not in line
    assert unquote(f" {line} ") == text


@given(st.lists(TEXTS))
def test_every_list_can_be_typed(texts: list[str]) -> None:
    assert split_lines(join_lines(texts)) == texts
    assert split_lines(join_lines(texts).replace("\n", "\r\n")) == texts


@given(st.lists(st.lists(TEXTS, min_size=1)))
def test_every_list_of_lists_can_be_typed(groups: list[list[str]]) -> None:
    assert split_groups(join_groups(groups)) == groups


@pytest.mark.parametrize("text", ["abc", "a b", "it's", 'say "no"', "7", "\\n"])
def test_ordinary_text_is_not_quoted(text: str) -> None:
    assert quote(text) == text


def test_partially_quoted_text_is_left_unchanged() -> None:
    assert unquote('"a" and "b"') == '"a" and "b"'
