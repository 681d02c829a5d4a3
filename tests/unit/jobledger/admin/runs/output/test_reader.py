"""Reading a run's output: head and tail, new output, search and download."""

import itertools
from collections.abc import Sequence

import pytest
from pytest_django.fixtures import DjangoAssertNumQueries

from jobledger.admin.runs.output import reader
from jobledger.admin.runs.output.lines import Line, ReadPosition
from jobledger.models import Run, RunOutput, Status, Stream, Trigger

pytestmark = pytest.mark.django_db

EMPTY = Line(stream=Stream.STDOUT, attempt=1, parts=())


def run_with_output(*texts: str, attempt: int = 1, stream: Stream = Stream.STDOUT) -> Run:
    run = Run.objects.create(job="probe", trigger=Trigger.CLI, status=Status.RUNNING, attempt=attempt)
    add_output(run, 0, *texts, attempt=attempt, stream=stream)
    return run


def add_output(run: Run, number: int, *texts: str, attempt: int = 1, stream: Stream = Stream.STDOUT) -> None:
    RunOutput.objects.bulk_create(
        RunOutput(run=run, attempt=attempt, number=each, stream=stream, text=text)
        for each, text in enumerate(texts, start=number)
    )


def texts(lines: Sequence[Line]) -> list[str]:
    return [line.text for line in lines]


def test_short_output_is_shown_in_full() -> None:
    shown = reader.initial_output(run_with_output("one\ntwo\n", "thr"), 1)
    assert (texts(shown.head), shown.has_gap, shown.open_line and shown.open_line.text) == (
        ["one", "two"],
        False,
        "thr",
    )


def test_no_output_is_empty() -> None:
    assert reader.initial_output(run_with_output(), 1).is_empty


def test_head_and_tail_of_long_output_are_shown() -> None:
    chunks = ["".join(f"{number}-{line} {'x' * 90}\n" for line in range(500)) for number in range(20)]
    shown = reader.initial_output(run_with_output(*chunks), 1)
    assert shown.has_gap
    assert texts(shown.head)[0].startswith("0-0 ")
    assert texts(shown.tail)[-1].startswith("19-499 ")
    size = sum(len(text) for text in texts([*shown.head, *shown.tail]))
    assert size <= reader.HEAD_CHARACTERS + reader.TAIL_CHARACTERS


def test_what_is_left_out_before_a_last_line_that_has_not_ended_is_a_gap_too() -> None:
    """Such as one of dots, each of which was written by itself."""
    lines = [f"{number}\n" for number in range(300)]
    shown = reader.initial_output(run_with_output(*lines, *["."] * 800), 1)
    assert (len(shown.head), texts(shown.tail), shown.has_gap) == (250, [], True)


def test_the_number_of_lines_is_limited() -> None:
    shown = reader.initial_output(run_with_output("".join(f"{number}\n" for number in range(5000))), 1)
    assert texts(shown.head)[-1] == "499"
    assert (texts(shown.tail)[0], len(shown.tail)) == ("3500", 1500)


@pytest.mark.parametrize("count", [1001, 1200, 3000])
def test_no_line_is_shown_twice_if_each_was_written_by_itself(count: int) -> None:
    shown = reader.initial_output(run_with_output(*[f"{number}\n" for number in range(count)]), 1)
    numbers = [int(text) for text in texts([*shown.head, *shown.tail])]
    assert (numbers[0], numbers[-1]) == (0, count - 1)
    assert numbers == sorted(set(numbers))
    assert shown.has_gap == (len(numbers) < count)


def test_the_number_of_queries_is_constant(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    runs = [run_with_output(), run_with_output("x\n"), run_with_output(*["x" * 60_000 + "\n"] * 17)]
    runs.append(run_with_output(*["x\n"] * 3000))
    for run in runs:
        with django_assert_max_num_queries(3):
            reader.initial_output(run, 1)


def test_reading_continues_at_the_end_of_long_output() -> None:
    run = run_with_output("x" * 200_000 + "\nan open l")
    position = reader.initial_output(run, 1).end
    add_output(run, 1, "ine\nnext\n")
    assert texts(reader.new_output(run, position).lines) == ["an open line", "next"]


def test_the_position_is_unchanged_without_new_output() -> None:
    run = run_with_output("one\n")
    position = reader.initial_output(run, 1).end
    new = reader.new_output(run, position)
    assert (new.lines, new.open_line, new.end) == ([], None, position)


def test_output_of_a_later_attempt_is_new() -> None:
    run = run_with_output("one\n")
    position = reader.initial_output(run, 1).end
    add_output(run, 0, "two\n", attempt=2)
    (line,) = reader.new_output(run, position).lines
    assert (line.text, line.begins_attempt) == ("two", True)


def test_only_the_end_of_very_much_new_output_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "TAIL_LINES", 2)
    new = reader.new_output(run_with_output("1\n2\n3\n"), ReadPosition(attempt=1))
    assert (texts(new.lines), new.has_gap) == (["2", "3"], True)


def test_only_the_end_of_very_long_new_output_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with_output("seen\n", "0\n1\n", "2\n3\n4\n")
    monkeypatch.setattr(reader, "MAX_CHARACTERS", 8)
    since = ReadPosition(attempt=1, number=1)
    new = reader.new_output(run, since)
    assert (texts(new.lines), new.has_gap) == (["1", "2", "3", "4"], True)
    assert texts(reader.new_output(run, ReadPosition(attempt=1, number=1, offset=2)).lines) == [
        "1",
        "2",
        "3",
        "4",
    ]
    assert not reader.new_output(run, ReadPosition(attempt=1, number=1, offset=2)).has_gap
    add_output(run, 3, "5\n")
    assert texts(reader.new_output(run, new.end).lines) == ["5"]


def test_new_output_is_read_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_ROWS", 2)
    run = run_with_output("1\n", "2\n", "3\n")
    first = reader.new_output(run, ReadPosition(attempt=1))
    second = reader.new_output(run, first.end)
    assert (texts(first.lines), first.has_more) == (["1", "2"], True)
    assert (texts(second.lines), second.has_more) == (["3"], False)


def test_search_ignores_case_and_colour() -> None:
    found = reader.matching_lines(
        run_with_output("start\nan \x1b[31mErr", "or\x1b[0m <here>\nend\nERROR"), 1, "error"
    )
    assert [(each.number, each.html) for each in found.lines] == [
        (2, "an <mark>Error</mark> &lt;here&gt;"),
        (4, "<mark>ERROR</mark>"),
    ]


def test_the_search_text_is_neither_a_pattern_nor_markup() -> None:
    found = reader.matching_lines(run_with_output("a.*b <i>\naxxb\n"), 1, ".*b <i>")
    assert [each.html for each in found.lines] == ["a<mark>.*b &lt;i&gt;</mark>"]


def test_only_the_first_matches_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_MATCHES", 2)
    found = reader.matching_lines(run_with_output("x\nx\nx\n"), 1, "x")
    assert (len(found.lines), found.has_more) == (2, True)


def test_the_text_is_unchanged_output() -> None:
    run = run_with_output("\x1b[31mone\r\n", "<two>")
    assert "".join(reader.as_text(run)) == "\x1b[31mone\r\n<two>"
    assert "".join(reader.as_text(run, without_escapes=True)) == "one\r\n<two>"


@pytest.mark.parametrize(
    "escape", ["\x1b[1;31m", "\x1b]8;;https://example.com\x1b\\", "\x1b]0;title\x07", "\x1b(B"]
)
def test_an_escape_that_is_divided_between_two_chunks_is_left_out_as_well(escape: str) -> None:
    for cut in range(len(escape) + 1):
        run = run_with_output(f"one {escape[:cut]}", f"{escape[cut:]}two {escape}", "end")
        assert "".join(reader.as_text(run, without_escapes=True)) == "one two end"


def test_an_escape_that_is_cut_off_does_not_hide_later_lines() -> None:
    run = run_with_output("one \x1b]0;title", "of " * 5000, "\ntwo\n", "thr\x1b[3")
    assert "".join(reader.as_text(run, without_escapes=True)) == "one \ntwo\nthr"


def test_the_text_of_several_attempts_has_headings() -> None:
    run = run_with_output("second\n", attempt=2)
    add_output(run, 0, "first\n")
    assert "".join(reader.as_text(run)) == "--- attempt 1 ---\nfirst\n--- attempt 2 ---\nsecond\n"
    assert "".join(reader.as_text(run, 1)) == "first\n"


# The cost of a search is bounded, whatever the output.


def marks(found: reader.MatchingLines) -> int:
    return sum(each.html.count("<mark>") for each in found.lines)


def characters(found: reader.MatchingLines) -> int:
    return sum(len(each.html) for each in found.lines)


@pytest.mark.parametrize("written", ["a" * 1_000_000, "ab" * 500_000, "ab\n" * 300_000, "a" * 70 + "\n" * 9])
def test_a_search_marks_and_shows_a_bounded_part_of_its_matches(written: str) -> None:
    found = reader.matching_lines(run_with_output(written), 1, "a")
    assert 0 < marks(found) <= reader.MAX_MARKS
    assert characters(found) <= reader.MAX_CHARACTERS + 30 * reader.MAX_MARKS
    assert len(found.lines) <= reader.MAX_MATCHES
    assert found.has_more == (len(written) > 1000)


def test_adjacent_matches_share_a_mark() -> None:
    (each,) = reader.matching_lines(run_with_output("xaAAb\n"), 1, "a").lines
    assert each.html == "x<mark>aAA</mark>b"


def test_the_number_of_searched_lines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_LINES_SEARCHED", 3)
    whole = reader.matching_lines(run_with_output("\n\na\n"), 1, "a")
    assert ([each.number for each in whole.lines], whole.is_partial) == ([3], False)
    part = reader.matching_lines(run_with_output("a\n\n\na\n"), 1, "a")
    assert ([each.number for each in part.lines], part.is_partial) == ([1], True)


def test_lines_beyond_the_limit_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_LINES_SEARCHED", 1000)
    numbers = itertools.count(1)
    monkeypatch.setattr(reader, "_all_lines", lambda *args: (EMPTY for _ in numbers))
    assert reader.matching_lines(run_with_output(), 1, "a").is_partial
    assert next(numbers) == 1002
