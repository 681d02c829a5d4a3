"""The result of a job's task: what ``celery result`` prints, and what callers that wait for it get."""

from typing import Any

from celery.exceptions import Ignore

from jobledger.models import Run, Status
from jobledger.runs import reasons


class JobFailedError(Exception):
    """A run that did not succeed; the message says why."""


def result_of(run: Run | None, last_line: str) -> dict[str, Any]:
    """The result of a run that has succeeded. Raises JobFailedError if it has ended otherwise.

    Raises Ignore if it has no result: it was deleted, is executed elsewhere, or waits for another run or for
    its next attempt. If there is a result, another message gives it.
    """
    if run is None or not Status(run.status).is_final:
        raise Ignore
    if run.status != Status.SUCCEEDED:
        raise JobFailedError(reasons.explanation(run))
    return {"run": str(run.pk), "status": run.status, "last_line": last_line}
