"""A run's output is shown by head and tail, followed, searched and downloaded."""

import itertools
from collections.abc import Sequence

import pytest
from pytest_django.fixtures import DjangoAssertNumQueries

from jobledger.admin.runs.output import reader
from jobledger.admin.runs.output.lines import Line, ReadPosition
from jobledger.models import Run, RunOutput, Status, Stream, Trigger

pytestmark = pytest.mark.django_db

EMPTY = Line(stream=Stream.STDOUT, attempt=1, parts=())


def run_that_wrote(*texts: str, attempt: int = 1, stream: Stream = Stream.STDOUT) -> Run:
    run = Run.objects.create(job="probe", trigger=Trigger.CLI, status=Status.RUNNING, attempt=attempt)
    more(run, 0, *texts, attempt=attempt, stream=stream)
    return run


def more(run: Run, number: int, *texts: str, attempt: int = 1, stream: Stream = Stream.STDOUT) -> None:
    RunOutput.objects.bulk_create(
        RunOutput(run=run, attempt=attempt, number=each, stream=stream, text=text)
        for each, text in enumerate(texts, start=number)
    )


def texts(lines: Sequence[Line]) -> list[str]:
    return [line.text for line in lines]


def test_a_short_output_is_shown_as_a_whole() -> None:
    shown = reader.initial_output(run_that_wrote("one\ntwo\n", "thr"), 1)
    assert (texts(shown.head), shown.has_gap, shown.open_line and shown.open_line.text) == (
        ["one", "two"],
        False,
        "thr",
    )


def test_no_output_is_empty() -> None:
    assert reader.initial_output(run_that_wrote(), 1).is_empty


def test_of_a_long_output_head_and_tail_are_shown() -> None:
    pieces = ["".join(f"{number}-{line} {'x' * 90}\n" for line in range(500)) for number in range(20)]
    shown = reader.initial_output(run_that_wrote(*pieces), 1)
    assert shown.has_gap
    assert texts(shown.head)[0].startswith("0-0 ")
    assert texts(shown.tail)[-1].startswith("19-499 ")
    size = sum(len(text) for text in texts([*shown.head, *shown.tail]))
    assert size <= reader.HEAD_CHARACTERS + reader.TAIL_CHARACTERS


def test_of_many_short_lines_so_many_are_shown() -> None:
    shown = reader.initial_output(run_that_wrote("".join(f"{number}\n" for number in range(5000))), 1)
    assert texts(shown.head)[-1] == "499"
    assert (texts(shown.tail)[0], len(shown.tail)) == ("3500", 1500)


def test_the_queries_are_as_many_whatever_the_output_is(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    runs = [run_that_wrote(), run_that_wrote("x\n"), run_that_wrote(*["x" * 60_000 + "\n"] * 17)]
    runs.append(run_that_wrote(*["x\n"] * 3000))
    for run in runs:
        with django_assert_max_num_queries(3):
            reader.initial_output(run, 1)


def test_what_comes_after_a_long_output_is_read_on_from_its_end() -> None:
    run = run_that_wrote("x" * 200_000 + "\nan open l")
    place = reader.initial_output(run, 1).end
    more(run, 1, "ine\nnext\n")
    assert texts(reader.new_output(run, place).lines) == ["an open line", "next"]


def test_nothing_new_is_no_news_and_the_place_stays() -> None:
    run = run_that_wrote("one\n")
    place = reader.initial_output(run, 1).end
    news = reader.new_output(run, place)
    assert (news.lines, news.open_line, news.end) == ([], None, place)


def test_a_later_attempt_is_news() -> None:
    run = run_that_wrote("one\n")
    place = reader.initial_output(run, 1).end
    more(run, 0, "two\n", attempt=2)
    (line,) = reader.new_output(run, place).lines
    assert (line.text, line.begins_attempt) == ("two", True)


def test_of_a_flood_the_end_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "TAIL_LINES", 2)
    news = reader.new_output(run_that_wrote("1\n2\n3\n"), ReadPosition(attempt=1))
    assert (texts(news.lines), news.has_gap) == (["2", "3"], True)


def test_what_is_too_much_for_one_look_comes_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_ROWS", 2)
    run = run_that_wrote("1\n", "2\n", "3\n")
    first = reader.new_output(run, ReadPosition(attempt=1))
    second = reader.new_output(run, first.end)
    assert (texts(first.lines), first.has_more) == (["1", "2"], True)
    assert (texts(second.lines), second.has_more) == (["3"], False)


def test_lines_are_found_by_a_part_whatever_its_case_and_colour() -> None:
    found = reader.matching_lines(
        run_that_wrote("start\nan \x1b[31mErr", "or\x1b[0m <here>\nend\nERROR"), 1, "error"
    )
    assert [(each.number, each.html) for each in found.lines] == [
        (2, "an <mark>Error</mark> &lt;here&gt;"),
        (4, "<mark>ERROR</mark>"),
    ]


def test_what_is_searched_is_no_pattern_and_no_markup() -> None:
    found = reader.matching_lines(run_that_wrote("a.*b <i>\naxxb\n"), 1, ".*b <i>")
    assert [each.html for each in found.lines] == ["a<mark>.*b &lt;i&gt;</mark>"]


def test_only_the_first_matches_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_MATCHES", 2)
    found = reader.matching_lines(run_that_wrote("x\nx\nx\n"), 1, "x")
    assert (len(found.lines), found.has_more) == (2, True)


def test_the_text_is_what_was_written() -> None:
    run = run_that_wrote("\x1b[31mone\r\n", "<two>")
    assert "".join(reader.as_text(run)) == "\x1b[31mone\r\n<two>"
    assert "".join(reader.as_text(run, without_escapes=True)) == "one\r\n<two>"


def test_the_text_of_several_attempts_has_headings() -> None:
    run = run_that_wrote("second\n", attempt=2)
    more(run, 0, "first\n")
    assert "".join(reader.as_text(run)) == "--- attempt 1 ---\nfirst\n--- attempt 2 ---\nsecond\n"
    assert "".join(reader.as_text(run, 1)) == "first\n"


# What one search costs is bounded, whatever was written.


def marks(found: reader.MatchingLines) -> int:
    return sum(each.html.count("<mark>") for each in found.lines)


def characters(found: reader.MatchingLines) -> int:
    return sum(len(each.html) for each in found.lines)


@pytest.mark.parametrize("written", ["a" * 1_000_000, "ab" * 500_000, "ab\n" * 300_000, "a" * 70 + "\n" * 9])
def test_a_search_marks_and_shows_a_bounded_part_of_its_matches(written: str) -> None:
    found = reader.matching_lines(run_that_wrote(written), 1, "a")
    assert 0 < marks(found) <= reader.MAX_MARKS
    assert characters(found) <= reader.MAX_CHARACTERS + 30 * reader.MAX_MARKS
    assert len(found.lines) <= reader.MAX_MATCHES
    assert found.has_more == (len(written) > 1000)


def test_neighbouring_matches_share_a_mark() -> None:
    (each,) = reader.matching_lines(run_that_wrote("xaAAb\n"), 1, "a").lines
    assert each.html == "x<mark>aAA</mark>b"


def test_the_lines_that_are_searched_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_LINES_SEARCHED", 3)
    whole = reader.matching_lines(run_that_wrote("\n\na\n"), 1, "a")
    assert ([each.number for each in whole.lines], whole.is_partial) == ([3], False)
    part = reader.matching_lines(run_that_wrote("a\n\n\na\n"), 1, "a")
    assert ([each.number for each in part.lines], part.is_partial) == ([1], True)


def test_no_more_lines_are_made_than_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_LINES_SEARCHED", 1000)
    numbers = itertools.count(1)
    monkeypatch.setattr(reader, "_all_lines", lambda *args: (EMPTY for _ in numbers))
    assert reader.matching_lines(run_that_wrote(), 1, "a").is_partial
    assert next(numbers) == 1002
