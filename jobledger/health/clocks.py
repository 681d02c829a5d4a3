"""Whether the clocks of the processes and of the database can be trusted."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from jobledger import clock, formats
from jobledger.health.problem import PartName, Problem, ProblemKind, listed
from jobledger.models import ServiceProcess


def set_back(handled_until: datetime | None, now: datetime) -> Iterator[Problem]:
    """Each slot is handled once, so those from before the clock was set back are not handled again."""
    if handled_until is None or handled_until <= now + clock.MAX_OFFSET:
        return
    yield Problem(
        kind=ProblemKind.CLOCK_SET_BACK,
        part=PartName.SCHEDULES,
        text=f"The database's clock was set back: some schedules start nothing until "
        f"{formats.exact(handled_until)} ({formats.relative(handled_until, now)}).",
        short="clock set back",
        advice="Runs up to then are on record already, and none is started twice. If the clock is wrong now, "
        "set it; if it was wrong before, wait.",
    )


def offsets(present: Sequence[ServiceProcess], of_this_server: timedelta) -> Iterator[Problem]:
    found = {f"{process.get_kind_display()} {process.name}": process.clock_offset for process in present}
    found["this web server"] = of_this_server
    wrong = {name: offset for name, offset in found.items() if abs(offset) > clock.MAX_OFFSET}
    if not wrong:
        return
    named = [
        f"{name} is {formats.duration(abs(offset))} {'ahead' if offset > timedelta(0) else 'behind'}"
        for name, offset in wrong.items()
    ]
    yield Problem(
        kind=ProblemKind.CLOCK_OFFSET,
        part=PartName.DATABASE,
        text=f"Clocks differ from the database's: {listed(named)}.",
        short="clocks differ",
        advice="Synchronize the clocks, for example with NTP. Leases, retries and schedules use the "
        "database's clock, but times in logs, and those that jobs read themselves, are wrong.",
    )
