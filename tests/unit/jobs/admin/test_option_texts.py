import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.jobs.admin import option_texts

TEXTS = st.text(st.sampled_from('ab "\\\n\r\t\x00é\u2028')) | st.text()


@given(TEXTS)
def test_every_text_can_be_written(text: str) -> None:
    line = option_texts.written(text)
    assert "\n" not in line
    assert option_texts.read(f" {line} ") == text


@given(st.lists(TEXTS))
def test_every_list_can_be_written(texts: list[str]) -> None:
    assert option_texts.read_lines(option_texts.written_lines(texts)) == texts
    assert option_texts.read_words(option_texts.written_words(texts)) == texts


@pytest.mark.parametrize("text", ["abc", "a b", "it's", 'say "no"', "7", "\\n"])
def test_an_ordinary_text_looks_like_itself(text: str) -> None:
    assert option_texts.written(text) == text


def test_what_is_no_quoted_text_is_taken_as_it_is() -> None:
    assert option_texts.read('"a" and "b"') == '"a" and "b"'
