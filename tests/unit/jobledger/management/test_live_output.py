"""A run is followed to its end: each piece of its output once, and each of its states."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from django.core.management.base import CommandError

from jobledger.management import live_output
from jobledger.models import Run, RunOutput, Status, Stream, Trigger

pytestmark = pytest.mark.django_db

Step = Callable[[], object]


def made(**values: object) -> Run:
    return Run.objects.create(**{"job": "probe", "trigger": Trigger.CLI, **values})


def change(run: Run, **values: object) -> None:
    Run.objects.filter(pk=run.pk).update(**values)


def write(run: Run, number: int, text: str, *, attempt: int = 1) -> None:
    RunOutput.objects.create(run=run, attempt=attempt, number=number, stream=Stream.STDOUT, text=text)


def followed(run: Run, *steps: Step) -> list[tuple[str, str]]:
    """What is told of the run while these things happen, one at each wait."""
    happening: Iterator[Step] = iter(steps)

    def wait() -> None:
        next(happening)()

    news = live_output.follow(run.pk, wait)
    start = f"Run {str(run.pk)[:8]}: "
    return [(str(piece.stream), piece.text.removeprefix(start)) for each in news for piece in each.pieces]


def test_output_comes_as_it_is_written_and_states_as_they_change() -> None:
    run = made()
    assert followed(
        run,
        partial(change, run, status=Status.RUNNING),
        partial(write, run, 0, "one "),
        lambda: None,
        partial(write, run, 1, "two\n"),
        partial(change, run, status=Status.SUCCEEDED),
    ) == [
        ("stderr", "queued\n"),
        ("stderr", "running\n"),
        ("stdout", "one "),
        ("stdout", "two\n"),
        ("stderr", "succeeded\n"),
    ]


def test_the_next_attempts_output_follows_although_its_numbers_begin_again() -> None:
    run = made(status=Status.RUNNING)
    for number in range(3):
        write(run, number, f"first {number}\n")

    def begin_again() -> None:
        change(run, attempt=2)
        write(run, 0, "second\n", attempt=2)

    assert followed(run, begin_again, partial(change, run, status=Status.FAILED, error="no luck")) == [
        *(("stdout", f"first {number}\n") for number in range(3)),
        ("stderr", "running\n"),
        ("stdout", "second\n"),
        ("stderr", "running, attempt 2\n"),
        ("stderr", "failed, attempt 2: no luck\n"),
    ]


def test_the_rest_that_is_written_with_the_end_is_not_missed() -> None:
    run = made(status=Status.RUNNING)

    def end() -> None:
        write(run, 0, "the rest")
        change(run, status=Status.SUCCEEDED)

    assert followed(run, end)[1:] == [("stdout", "the rest"), ("stderr", "succeeded\n")]


def test_the_last_news_has_the_run_as_it_ended() -> None:
    run = made(status=Status.RUNNING)
    news = list(live_output.follow(run.pk, partial(change, run, status=Status.FAILED, exit_code=3)))
    assert live_output.exit_code_of(news[-1].run) == 3


def test_a_run_that_is_deleted_while_it_is_followed_is_an_error() -> None:
    run = made()
    with pytest.raises(CommandError, match="was deleted"):
        followed(run, Run.objects.all().delete)


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [
        (Status.SUCCEEDED, 0),
        (Status.SENT, 0),
        *((status, 1) for status in (Status.LOST, Status.MISSED, Status.SKIPPED, Status.EXPIRED)),
        (Status.CANCELLED, 1),
    ],
)
def test_a_run_without_an_exit_code_succeeded_only_if_what_was_wanted_happened(
    status: Status, exit_code: int
) -> None:
    assert live_output.exit_code_of(Run(status=status)) == exit_code


def test_a_runs_own_exit_code_counts_before_its_state() -> None:
    assert live_output.exit_code_of(Run(status=Status.SKIPPED, exit_code=75)) == 75
