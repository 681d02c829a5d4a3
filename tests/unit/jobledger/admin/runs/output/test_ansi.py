"""Terminal escapes become classes; the text is kept, and is never markup."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.admin.runs.output import ansi
from jobledger.escapes import without_escape_sequences

texts = st.text(st.characters(exclude_characters="\x1b", exclude_categories=["Cs"]))
colours = st.lists(st.integers(0, 120), max_size=5).map(lambda codes: f"\x1b[{';'.join(map(str, codes))}m")


def classes_of(text: str) -> list[str]:
    return [span.style.classes for span in ansi.parse_escapes(text)[0]]


@given(st.lists(st.tuples(texts, colours)))
def test_the_text_between_escapes_is_kept(parts: list[tuple[str, str]]) -> None:
    written = "".join(text + colour for text, colour in parts)
    kept = "".join(span.text for span in ansi.parse_escapes(written)[0])
    assert kept == without_escape_sequences(written) == "".join(text for text, _ in parts)


@given(st.lists(st.tuples(texts, colours)), st.data())
def test_a_style_continues_in_the_next_text(parts: list[tuple[str, str]], data: st.DataObject) -> None:
    whole = "".join(text + colour for text, colour in parts)
    at = data.draw(st.integers(0, len(parts)))
    border = sum(len(text + colour) for text, colour in parts[:at])
    first, style = ansi.parse_escapes(whole[:border])
    second, end = ansi.parse_escapes(whole[border:], ansi.parse_token(style.token))
    assert (styled([*first, *second]), end) == (
        styled(ansi.parse_escapes(whole)[0]),
        ansi.parse_escapes(whole)[1],
    )


def styled(spans: list[ansi.StyledText]) -> list[tuple[str, ansi.Style]]:
    return [(character, span.style) for span in spans for character in span.text]


@given(st.text())
def test_text_is_never_markup(text: str) -> None:
    html = ansi.as_html(ansi.parse_escapes(text)[0])
    assert set(re.findall("<[^>]*>", html)) <= {"</span>", *re.findall('<span class="[a-z0-9 -]*">', html)}
    assert "<script" not in html


@pytest.mark.parametrize(
    ("codes", "classes"),
    [
        ("31", "ansi-fg-1"),
        ("97", "ansi-fg-15"),
        ("44", "ansi-bg-4 ansi-on"),
        ("1;4;32", "ansi-bold ansi-fg-2 ansi-underline"),
        ("103", "ansi-bg-11 ansi-on"),
        ("38;5;9", "ansi-fg-9"),
        ("38;5;196", "ansi-fg-9"),
        ("38;5;250", "ansi-fg-7"),
        ("48;2;255;250;5", "ansi-bg-11 ansi-on"),
        ("38:2::0:0:240", "ansi-fg-4"),
        ("4:3", "ansi-underline"),
        ("38;5", ""),
        ("38;9;1", "ansi-bold"),
        ("7", "ansi-inverse"),
        ("7;31", "ansi-bg-1 ansi-in-paper ansi-on"),
        ("7;41", "ansi-fg-1 ansi-on-ink"),
        ("8", ""),
        ("99999999999999999999", ""),
    ],
)
def test_a_code_becomes_a_class(codes: str, classes: str) -> None:
    assert classes_of(f"\x1b[{codes}mx") == [classes]


@pytest.mark.parametrize("end", ["0", "", "22;39;49;24", "1;0"])
def test_styles_can_be_reset(end: str) -> None:
    assert classes_of(f"\x1b[1;4;31;42mx\x1b[{end}my")[1] == ""


@pytest.mark.parametrize(
    "escape",
    ["\x1b[2K", "\x1b[10;5H", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x1b(B", "\x1bc", "\x1b[?25l"],
)
def test_other_escape_sequences_are_dropped(escape: str) -> None:
    assert ansi.as_html(ansi.parse_escapes(f"a{escape}<b>")[0]) == "a&lt;b&gt;"


@pytest.mark.parametrize("token", ["", "f99-b-", "<script>", "f1f2", "hidden-x"])
def test_an_invalid_token_is_plain(token: str) -> None:
    assert ansi.parse_token(token) == ansi.PLAIN


def test_of_a_very_long_sequence_only_the_first_codes_count() -> None:
    assert classes_of(f"\x1b[{'0;' * 31}1mx") == ["ansi-bold"]
    assert classes_of(f"\x1b[{'0;' * 100_000}1mx") == [""]


@given(st.lists(st.tuples(texts, colours)))
def test_the_style_at_the_end_is_found_without_the_text(parts: list[tuple[str, str]]) -> None:
    written = "".join(text + colour for text, colour in parts)
    assert ansi.style_after(written) == ansi.parse_escapes(written)[1]
