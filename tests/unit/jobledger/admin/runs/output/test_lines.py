"""Chunks of output are split into lines, whether read at once or in several steps."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.admin.runs.output import lines as output_lines
from jobledger.admin.runs.output.ansi import PLAIN
from jobledger.admin.runs.output.lines import Chunk, Line, LineReader, ReadPosition
from jobledger.models import Stream

OUT, ERR = Stream.STDOUT, Stream.STDERR

chunk_texts = st.lists(
    st.tuples(
        st.sampled_from(Stream),
        st.lists(
            st.sampled_from(["a", "b", "\n", "\r", "\r\n", "\x1b[31m", "\x1b[0m", "longer "]), min_size=1
        ).map("".join),
    ),
    min_size=1,
)


def chunks_of(written: Sequence[tuple[Stream, str]], attempt: int = 1) -> list[Chunk]:
    return [
        Chunk(attempt=attempt, number=number, stream=stream, text=text)
        for number, (stream, text) in enumerate(written)
    ]


def all_lines(chunks: list[Chunk]) -> list[Line]:
    reader = LineReader(ReadPosition(attempt=1))
    lines = list(reader.read(chunks))
    return lines + ([reader.open_line] if reader.open_line else [])


def texts(*written: tuple[Stream, str]) -> list[str]:
    return [line.text for line in all_lines(chunks_of(written))]


@given(chunk_texts, st.data())
def test_reading_in_steps_gives_the_same_lines_as_reading_at_once(
    written: list[tuple[Stream, str]], data: st.DataObject
) -> None:
    first = chunks_of(written)
    second = chunks_of(data.draw(chunk_texts), attempt=2) if data.draw(st.booleans()) else []
    chunks, lines, position = first + second, list[Line](), ReadPosition(attempt=1)
    for end in [*sorted(data.draw(st.lists(st.integers(0, len(chunks)), max_size=4))), len(chunks)]:
        reader = LineReader(ReadPosition.read(str(position)) or position)
        assert ReadPosition.read(str(reader.position)) == reader.position
        known = [
            each
            for each in chunks[:end]
            if (each.attempt, each.number) >= (position.attempt, position.number)
        ]
        lines += reader.read(known)
        position = reader.position
    lines += [reader.open_line] if reader.open_line else []
    assert lines == all_lines(chunks)


pieces = st.lists(
    st.sampled_from(["a", "bc", "\n", "\r", "\r\r", "\r\n", "\x1b[31m", "\x1b[0m", "\x1b[1m", "x" * 4001]),
    min_size=1,
)


@given(pieces)
def test_texts_that_are_overwritten_in_turn_are_skipped_without_a_difference(written: list[str]) -> None:
    at_once = all_lines(chunks_of([(OUT, "".join(written))]))
    assert at_once == all_lines(chunks_of([(OUT, piece) for piece in written]))


@given(chunk_texts)
def test_lines_without_styles_have_the_same_texts(written: list[tuple[Stream, str]]) -> None:
    reader = LineReader(ReadPosition(attempt=1), is_styled=False)
    lines = list(reader.read(chunks_of(written)))
    assert [line.text for line in [*lines, *([reader.open_line] if reader.open_line else [])]] == texts(
        *written
    )
    assert {part.style for line in lines for part in line.parts} <= {PLAIN}


def test_a_progress_bar_costs_no_more_than_its_last_state(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def fragment(*, text: str, **position: int) -> Any:
        made.append(text)
        return SimpleNamespace(text=text, **position)

    monkeypatch.setattr(output_lines, "_Fragment", fragment)
    bar = "".join(f"\x1b[32m{number}%\r" for number in range(1000))
    assert texts((OUT, f"{bar}done\n")) == ["done"]
    assert made == ["\x1b[32m0%", "done"]


def test_a_title_is_dropped_but_not_what_follows_it() -> None:
    assert texts((OUT, "\x1b]0;title\x07hello\x07\n")) == ["hello␇"]


def test_a_line_may_be_split_across_chunks() -> None:
    assert texts((OUT, "one\ntw"), (OUT, "o\n\nthree")) == ["one", "two", "", "three"]


def test_the_other_stream_ends_a_line() -> None:
    lines = all_lines(chunks_of([(OUT, "working"), (ERR, "careful\n"), (OUT, " done\n")]))
    assert [(line.text, line.is_error) for line in lines] == [
        ("working", False),
        ("careful", True),
        (" done", False),
    ]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("10%\r50%\r100%\n", ["100%"]),
        ("10%\r50%\r", ["50%"]),
        ("done\r\n", ["done"]),
        ("a\r\r\nb", ["a", "b"]),
    ],
)
def test_only_the_latest_state_of_an_overwritten_line_is_kept(written: str, shown: list[str]) -> None:
    assert texts((OUT, written)) == shown


def test_the_position_advances_within_a_progress_bar() -> None:
    reader = LineReader(ReadPosition(attempt=1))
    list(reader.read(chunks_of([(OUT, f"{number}%\r") for number in range(50)])))
    assert reader.position.number == 49


def test_a_style_continues_across_lines_of_its_stream() -> None:
    lines = all_lines(chunks_of([(OUT, "\x1b[31mred\n"), (ERR, "plain\n"), (OUT, "still red\n")]))
    assert [line.parts[0].style.foreground for line in lines] == [1, None, 1]


def test_an_escape_sequence_may_be_split_across_chunks() -> None:
    lines = all_lines(chunks_of([(OUT, "\x1b[3"), (OUT, "1mred\nstill red\n")]))
    assert [(line.text, line.parts[0].style.foreground) for line in lines] == [("red", 1), ("still red", 1)]


def test_a_later_attempt_is_marked_and_starts_without_a_style() -> None:
    chunks = [
        *chunks_of([(OUT, "\x1b[31mfirst")]),
        Chunk(attempt=2, number=0, stream=OUT, text="second\nthird"),
    ]
    lines = all_lines(chunks)
    assert [(line.text, line.begins_attempt) for line in lines] == [
        ("first", False),
        ("second", True),
        ("third", False),
    ]
    assert lines[1].parts[0].style.foreground is None


def test_a_very_long_line_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_lines, "MAX_LINE_LENGTH", 10)
    assert texts((OUT, "x" * 15), (OUT, "y" * 10 + "\n")) == ["x" * 10, "x" * 5 + "y" * 5, "y" * 5]


def test_control_characters_are_visible() -> None:
    assert texts((OUT, "a\x08b\x07\tc\n")) == ["a␈b␇\tc"]


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "1.2.x..", "-1.0.0..", "1.2.3", "1.2.3." + "b" * 400, f"{1 << 40}.0.0.."]
)
def test_an_invalid_position_is_rejected(text: str) -> None:
    assert ReadPosition.read(text) is None
