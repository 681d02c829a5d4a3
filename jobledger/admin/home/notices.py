"""Notices at the top of the home page: problems of the service, with advice and links."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.utils.safestring import SafeString

from jobledger.admin import display, rights
from jobledger.admin.display import RunUrls
from jobledger.admin_site import page_url
from jobledger.health.problem import Problem, ProblemKind
from jobledger.models import Status
from jobledger.retention.ledger_size import PRUNING_JOB

_ABOUT_SCHEDULES = (ProblemKind.NO_BEAT, ProblemKind.LATE_BEAT, ProblemKind.BROKEN_SCHEDULES)
_ABOUT_RUNS = (
    ProblemKind.NO_WORKER,
    ProblemKind.IDLE_WORKERS,
    ProblemKind.NO_BROKER,
    ProblemKind.BUSY_WORKERS,
    ProblemKind.STALLED_WORKERS,
    ProblemKind.UNTAKEN_RUNS,
)

MAX_NOTICES = 5
"""The maximum number of notices of one kind, so that the rest of the page stays in view."""

Link = tuple[str, str]
"""Text and URL."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A problem, as shown to a user."""

    problem: Problem
    links: Sequence[Link]
    can_resume: bool
    not_shown: int
    """How many more problems of the kind there are, in its last notice."""

    @property
    def sign(self) -> SafeString:
        return display.mark("paused" if self.problem.kind is ProblemKind.PAUSED else "broken", "")


def notices(problems: Sequence[Problem], user: rights.User) -> list[Notice]:
    """The problems that the user may view, with links to pages that the user may open."""
    may_see_schedules = rights.may_view_schedules(user)
    visible = [
        each for each in problems if may_see_schedules or each.kind is not ProblemKind.BROKEN_SCHEDULES
    ]
    return [
        Notice(
            problem=problem,
            links=list(_links(problem, user)),
            can_resume=problem.kind is ProblemKind.PAUSED and rights.may_pause(user),
            not_shown=not_shown,
        )
        for problem, not_shown in _first_of_each_kind(visible)
    ]


def _first_of_each_kind(problems: Sequence[Problem]) -> Iterator[tuple[Problem, int]]:
    """With the number of the others of the kind, for the last one."""
    counts, seen = Counter(each.kind for each in problems), Counter[ProblemKind]()
    for problem in problems:
        seen[problem.kind] += 1
        if seen[problem.kind] < MAX_NOTICES:
            yield problem, 0
        elif seen[problem.kind] == MAX_NOTICES:
            yield problem, counts[problem.kind] - MAX_NOTICES


def _links(problem: Problem, user: rights.User) -> Sequence[Link]:
    if problem.kind is ProblemKind.PAUSED and rights.may_pause(user):
        home = urlencode({"next": page_url("index")})
        return [("Change…", f"{page_url('jobledger_service_pause')}?{home}")]
    if problem.kind is ProblemKind.DEAD_LETTERS:
        return [("Show dead letters", page_url("jobledger_deadletter_changelist"))]
    if problem.kind is ProblemKind.UNDELIVERED_ALERTS:
        return [("Show alerts", page_url("jobledger_alert_changelist"))]
    if problem.kind is ProblemKind.NOT_PRUNED:
        return [("Show its runs", RunUrls().filtered(job=PRUNING_JOB))]
    if problem.kind in _ABOUT_RUNS:
        own = [(f"Open {job}", display.run_url(pk)) for pk, job in problem.runs]
        return [*own, _queued_runs_link()]
    is_about_schedules = problem.kind in _ABOUT_SCHEDULES or problem.schedules > 0
    schedules = [_schedule_link(problem)] if is_about_schedules and rights.may_view_schedules(user) else []
    return [*schedules, _queued_runs_link()] if problem.queued_runs else schedules


def _queued_runs_link() -> Link:
    return "Show queued runs", RunUrls().filtered(status=Status.QUEUED)


def _schedule_link(problem: Problem) -> Link:
    if problem.schedule:
        page = page_url("django_celery_beat_periodictask_change", problem.schedule[0])
        return "Open the schedule", page
    page = page_url("django_celery_beat_periodictask_changelist")
    if problem.kind is ProblemKind.BROKEN_SCHEDULES:
        return "Show broken schedules", f"{page}?status=broken"
    if problem.queue:
        return "Show its schedules", f"{page}?{urlencode({'status': 'enabled', 'sent_to': problem.queue})}"
    return "Show schedules", page
