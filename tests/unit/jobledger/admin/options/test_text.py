import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.admin.options.text import read, read_lines, read_words, written, written_lines, written_words

TEXTS = st.text(st.sampled_from('ab "\\\n\r\t\x00é\u2028')) | st.text()


@given(TEXTS)
def test_every_text_can_be_written(text: str) -> None:
    line = written(text)
    assert "\n" not in line
    assert read(f" {line} ") == text


@given(st.lists(TEXTS))
def test_every_list_can_be_written(texts: list[str]) -> None:
    assert read_lines(written_lines(texts)) == texts
    assert read_words(written_words(texts)) == texts


@pytest.mark.parametrize("text", ["abc", "a b", "it's", 'say "no"', "7", "\\n"])
def test_an_ordinary_text_looks_like_itself(text: str) -> None:
    assert written(text) == text


def test_what_is_no_quoted_text_is_taken_as_it_is() -> None:
    assert read('"a" and "b"') == '"a" and "b"'
