"""In a process with many runs, each gets what its own threads write; the rest goes where it went before."""

import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from jobledger.models import Stream
from jobledger.runs.execution import job_threads
from jobledger.runs.output import capture
from jobledger.runs.output.capture import Capture, of_call
from jobledger.runs.output.recorder import OutputRecorder

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
