"""In a process with many runs, each gets what its own threads write; the rest goes where it went before."""

import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest

from jobledger.logs.running import LoggedRun, logging_as
from jobledger.models import Stream
from jobledger.runs.output import capture
from jobledger.runs.output.capture import Capture, of_call
from jobledger.runs.output.recorder import OutputRecorder
from jobledger.runs.processes import job_threads

logger = logging.getLogger("probes.routing")


class Outside:
    """What is written by no run."""

    def __init__(self) -> None:
        self.stdout, self.stderr = io.StringIO(), io.StringIO()


@contextmanager
def routed() -> Iterator[Outside]:
    """Not a fixture: pytest sets the streams once more when a test begins."""
    found = Outside()
    handler = logging.StreamHandler(found.stderr)
    logging.root.addHandler(handler)
    with redirect_stdout(found.stdout), redirect_stderr(found.stderr):
        capture.share()
        job_threads.begin()
        try:
            yield found
        finally:
            job_threads.end()
            capture.unshare()
            logging.root.removeHandler(handler)


def captured() -> Capture:
    return of_call(OutputRecorder(10_000))


def text_of(one: Capture) -> str:
    one.recorder.close()
    return "".join(piece.text for piece in one.recorder.unsaved())


def test_two_runs_that_write_in_turn_get_only_their_own() -> None:
    with routed() as outside:
        turns = threading.Barrier(2, timeout=60)
        texts: dict[str, str] = {}

        def job(word: str) -> None:
            with captured() as mine:
                for number in range(3):
                    turns.wait()
                    print(word, number)
                    sys.stderr.write(f"{word} on stderr\n")
                mine.end()
            texts[word] = text_of(mine)

        threads = [threading.Thread(target=job, args=[word]) for word in ("one", "other")]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        for word, text in texts.items():
            assert text == "".join(f"{word} {number}\n{word} on stderr\n" for number in range(3))
        assert (outside.stdout.getvalue(), outside.stderr.getvalue()) == ("", "")


def test_what_no_run_writes_goes_where_it_went_before() -> None:
    with routed() as outside:
        print("before")
        with captured() as mine:
            print("during")
            mine.end()
        print("after")
        logger.warning("logged")
        assert outside.stdout.getvalue() == "before\nafter\n"
        assert outside.stderr.getvalue() == "logged\n"
        assert text_of(mine) == "during\n"


def test_a_job_that_another_one_calls_has_an_output_of_its_own() -> None:
    with routed():
        with captured() as outer:
            print("outer")
            with captured() as inner:
                print("inner")
                inner.end()
            print("outer again")
            outer.end()
        assert text_of(inner) == "inner\n"
        assert text_of(outer) == "outer\nouter again\n"


def test_what_is_logged_is_on_the_run_once_and_not_in_the_log() -> None:
    with routed() as outside:
        with captured() as mine:
            logger.warning("logged")
            mine.end()
        assert text_of(mine).count("logged") == 1
        assert outside.stderr.getvalue() == ""


def test_what_the_service_logs_is_not_on_a_run() -> None:
    with routed() as outside:
        with captured() as mine:
            logging.getLogger("jobledger.runs").warning("of the service")
            mine.end()
        assert text_of(mine) == ""
        assert outside.stderr.getvalue() == "of the service\n"


def test_a_handler_that_a_job_adds_does_not_show_later_jobs_to_others() -> None:
    with routed():
        elsewhere = io.StringIO()
        elsewhere.fileno = lambda: 2  # type: ignore[method-assign]  # as if it were a copy of stderr
        handler = logging.StreamHandler(elsewhere)
        with captured() as first:
            logger.addHandler(handler)
            first.end()
        with captured() as second:
            logger.warning("of the second")
            second.end()
        logger.removeHandler(handler)
        assert text_of(second).count("of the second") == 1
        assert elsewhere.getvalue() == ""


def test_the_streams_are_as_those_of_a_process() -> None:
    with routed():
        with captured() as mine:
            sys.stdout.buffer.write(b"bytes\n")
            sys.stdout.writelines(["lines\n"])
            sys.stdout.flush()
            assert (sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.fileno()) == ("utf-8", False, 1)
            assert mine.stream_for(Stream.STDOUT) is mine.stream_for(Stream.STDOUT, sys.stdout)
            mine.end()
        assert text_of(mine) == "bytes\nlines\n"


def test_a_thread_that_outlives_its_run_writes_to_nobody() -> None:
    with routed() as outside:
        may_write = threading.Event()

        def late() -> None:
            may_write.wait()
            print("too late")

        with job_threads.noted(), captured() as mine:
            thread = threading.Thread(target=late)
            thread.start()
            mine.end()
        with captured() as other:
            may_write.set()
            thread.join()
            other.end()
        assert (text_of(mine), text_of(other), outside.stdout.getvalue()) == ("", "", "")


def test_afterwards_everything_is_as_before() -> None:
    before, filters = sys.stdout, [each.filters[:] for each in logging.root.handlers]
    capture.share()
    capture.unshare()
    assert sys.stdout is before
    assert [each.filters for each in logging.root.handlers] == filters
    with redirect_stdout(io.StringIO()) as target:
        assert sys.stdout is target


def test_a_redirection_gets_what_its_own_job_writes_and_nothing_of_others() -> None:
    with routed() as outside:
        targets = io.StringIO(), io.StringIO()
        entered, left = threading.Barrier(3, timeout=60), threading.Barrier(3, timeout=60)
        texts: dict[str, str] = {}

        def job(word: str, target: io.StringIO) -> None:
            with captured() as mine:
                with redirect_stdout(target), redirect_stderr(target):
                    entered.wait()
                    print(word, "in it")
                    sys.stderr.write(f"{word} on stderr\n")
                    left.wait()
                print(word, "after it")
                mine.end()
            texts[word] = text_of(mine)

        words = "one", "other"
        threads = [threading.Thread(target=job, args=each) for each in zip(words, targets, strict=True)]
        for each in threads:
            each.start()
        entered.wait()
        print("by no job")
        left.wait()
        for each in threads:
            each.join()
        assert [each.getvalue() for each in targets] == [
            f"{word} in it\n{word} on stderr\n" for word in words
        ]
        assert texts == {word: f"{word} after it\n" for word in words}
        assert outside.stdout.getvalue() == "by no job\n"


def test_redirections_can_be_entered_one_inside_the_other_and_again() -> None:
    with routed(), captured() as mine:
        outer, inner = io.StringIO(), io.StringIO()
        block = redirect_stdout(outer)
        with block:
            with redirect_stdout(inner) as target, block:
                assert target is inner
                print("outer")
            print("outer again")
        print("on the run")
        mine.end()
    assert (outer.getvalue(), inner.getvalue()) == ("outer\nouter again\n", "")
    assert text_of(mine) == "on the run\n"


def test_a_target_can_pass_on_to_the_stream_that_it_has_found() -> None:
    class Both(io.StringIO):
        found = sys.stdout

        def write(self, text: str) -> int:
            self.found.write(text)
            return super().write(text)

    with routed(), captured() as mine:
        Both.found, both = sys.stdout, Both()
        with redirect_stdout(both), redirect_stderr(sys.stdout):
            print("twice")
            sys.stderr.write("too\n")
        mine.end()
    assert both.getvalue() == text_of(mine) == "twice\ntoo\n"


def test_what_is_redirected_to_none_is_dropped() -> None:
    with routed() as outside, captured() as mine:
        with redirect_stdout(None):
            print("nothing")
        mine.end()
    assert (text_of(mine), outside.stdout.getvalue()) == ("", "")


def test_a_thread_of_a_job_writes_to_where_it_is_redirected() -> None:
    target = io.StringIO()
    with routed(), job_threads.noted(), captured() as mine:
        with redirect_stdout(target):
            thread = threading.Thread(target=print, args=["by a thread"])
            thread.start()
            thread.join()
        mine.end()
    assert (target.getvalue(), text_of(mine)) == ("by a thread\n", "")


def test_a_job_that_another_one_calls_writes_to_its_own_run_even_if_that_one_redirects() -> None:
    target = io.StringIO()
    with routed(), captured() as outer:
        with redirect_stdout(target):
            with captured() as inner:
                print("inner")
                inner.end()
            print("outer")
        outer.end()
    assert (text_of(inner), target.getvalue(), text_of(outer)) == ("inner\n", "outer\n", "")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("moment", ["start", "end"])
def test_a_stream_that_a_job_has_replaced_is_put_back_when_a_run_begins_or_ends(
    caplog: pytest.LogCaptureFixture, stream: str, moment: str
) -> None:
    with routed() as outside:
        ours = getattr(sys, stream)
        if moment == "start":
            setattr(sys, stream, io.StringIO())
        run = LoggedRun(job="first", run_id="7")
        with logging_as(run, is_process_wide=False), captured() as mine:
            print("on the run", file=getattr(sys, stream))
            if moment == "end":
                setattr(sys, stream, io.StringIO())
            mine.end()
        assert getattr(sys, stream) is ours
        print("later", file=getattr(sys, stream))
        assert text_of(mine) == "on the run\n"
        assert "later\n" in getattr(outside, stream).getvalue()
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"At the {moment} of run 7 of first, sys.{stream} was a StringIO" in warning
