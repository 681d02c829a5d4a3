"""Commands of unusual shapes in a real worker: what a unit test's process might do differently."""

from pathlib import Path

from tests.integration.ledger import call, cancel, output_of, wait_for_end, wait_for_start, whats
from tests.integration.service import Service


def test_a_job_that_asks_a_question_fails_and_reads_an_empty_input(running: Service, tmp_path: Path) -> None:
    asking = {
        how: call(running, "asking", app_label="shapes", how=how)
        for how in ("input", "getpass", "read", "subprocess")
    }
    created = call(running, "exporting", app_label="shapes", new=str(tmp_path / "new"))
    errors = {how: wait_for_end(running, pk).error for how, pk in asking.items()}
    for how in "input", "getpass":
        assert errors[how].startswith("NoTerminalError: a job has no terminal")
    for how in "read", "subprocess":
        assert output_of(running, asking[how]) == "read ''\n"
    # Created once: a second attempt to would fail.
    assert wait_for_end(running, created).status == "succeeded"


def test_a_coroutine_is_cancelled_and_cleans_up(running: Service) -> None:
    pk = call(running, "asynchronous", app_label="shapes", last=True)
    wait_for_start(running, pk)
    cancel(running, pk)
    assert wait_for_end(running, pk).status == "cancelled"
    assert whats(running, pk) == ["begin", "cleanup"]
