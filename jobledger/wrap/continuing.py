"""Lets a job on a wrapped line of a crontab continue the run of the line, instead of creating another one."""

from uuid import UUID

from jobledger.wrap import enclosing
from jobledger.wrap.line import of_relay


def continued_run(job: str) -> UUID | None:
    """The run that this process, a call of the job on the command line, is to continue, if any."""
    if (relay := enclosing.relay()) is None:
        return None
    # Imported late: every job gets here, few of them any further.
    from jobledger.wrap.naming import call_in, run_id_of

    line = of_relay(enclosing.arguments_of(relay))
    call = call_in(line) if line else None
    return run_id_of(relay) if call is not None and call.command == job else None
