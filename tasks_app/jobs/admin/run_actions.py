"""What can be done to runs from the admin: cancelling and starting again, each with an entry in the trail."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils import timezone

from tasks_app.jobs.admin import rights, trail
from tasks_app.jobs.admin.rights import User
from tasks_app.jobs.models import Run, Status, Trigger
from tasks_app.jobs.running import again, overlap


@dataclass(frozen=True, kw_only=True)
class Restarted:
    """What came of starting several runs again."""

    new: list[Run]
    not_allowed: int
    refusals: list[str]


def cancel(user: User, run: Run) -> bool:
    """Ask for the run's end; False when it is over, or was asked before."""
    is_asked = overlap.request_cancel(run, user.get_username(), timezone.now())
    if is_asked:
        trail.noted(user, [run], "Cancelled.")
    return is_asked


def cancel_all(user: User, runs: Iterable[Run]) -> int:
    """Cancel those that are not over; how many there were."""
    return sum(cancel(user, run) for run in runs if not Status(run.status).is_final)


def start_again(user: User, run: Run) -> Run:
    """A new run that does the same. Raises NotStartedAgainError."""
    new = again.start_again(run, trigger=Trigger.ADMIN, who=user.get_username(), user_id=user.pk)
    trail.noted(user, [run], f"Started again as run {new.pk}.")
    trail.noted(user, [new], f"Started, the same as run {run.pk}.")
    return new


def start_all_again(user: User, runs: Iterable[Run]) -> Restarted:
    """Start each of them again whose job the user may start."""
    new, not_allowed, refusals = [], 0, []
    for run in runs:
        if not rights.may_start(user, run.job):
            not_allowed += 1
            continue
        try:
            new.append(start_again(user, run))
        except again.NotStartedAgainError as error:
            refusals.append(str(error))
    return Restarted(new=new, not_allowed=not_allowed, refusals=refusals)
