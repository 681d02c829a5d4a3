"""What a worker and a beat use until they are ready, in a project with a hundred jobs."""

import signal
from collections.abc import Callable, Iterator
from statistics import median

from benchmarks import services
from benchmarks.rows.row import Figure, Plan, Row, Target
from tests.integration.service import Service

FIRST_TICK = "beat: Waking up"
"""What Celery logs after each tick, whatever the scheduler."""
APP = "many_jobs"
JOB = """
from {module} import {base}


class Command({base}):
    help = "Do nothing."

    def handle(self, *args, **options):
        pass
"""
TASK = """
@shared_task
def job_{number}():
    call_command("job_{number}")
"""
SCHEDULES = """
from django_celery_beat.models import CrontabSchedule, PeriodicTask
yearly = CrontabSchedule.objects.create(minute="0", hour="0", day_of_month="1", month_of_year="1")
for number in range({count}):
    task = f"many_jobs{suffix}.job_{{number}}"
    PeriodicTask.objects.create(name=f"job {{number}}", task=task, crontab=yearly)
"""


def _measure(plan: Plan, database: str) -> Iterator[Figure]:
    count, repeat = plan.size(100, 3), plan.size(12, 1)
    with services.side_by_side(services.OURS, services.PEER) as both:
        for each, is_ours in zip(both, (True, False), strict=True):
            _add_jobs(each, count, is_ours=is_ours)
        worker, beat = (_medians(both, repeat, start) for start in (_worker_ready, _first_tick))
    for title, (here, peer) in (("a worker, ready", worker), ("beat's first tick", beat)):
        yield Figure(
            title=f"{title}, with {count} jobs, CPU s",
            here=here,
            peer=peer,
            peer_title="bare tasks and stock beat",
            target=Target(limit=1.2),
        )


def _add_jobs(running: Service, count: int, *, is_ours: bool) -> None:
    """Write an app with so many jobs; what calls them, in the peer, is a bare task each."""
    commands = running.folder / APP / "management" / "commands"
    commands.mkdir(parents=True)
    for package in (commands, commands.parent, commands.parent.parent):
        (package / "__init__.py").touch()
    module, base = ("jobledger", "JobCommand") if is_ours else ("django.core.management.base", "BaseCommand")
    for number in range(count):
        (commands / f"job_{number}.py").write_text(JOB.format(module=module, base=base))
    if not is_ours:
        tasks = "".join(TASK.format(number=number) for number in range(count))
        head = "from celery import shared_task\nfrom django.core.management import call_command\n"
        (running.folder / APP / "tasks.py").write_text(head + tasks)
    path = f"{running.environment['PYTHONPATH']}:{running.folder}"
    running.variables |= {"PYTHONPATH": path, "MORE_APPS": APP}
    running.shell(SCHEDULES.format(count=count, suffix="" if is_ours else ".tasks"))


def _medians(both: list[Service], repeat: int, start: Callable[[Service], float]) -> list[float]:
    """Without a first time, which compiles what it imports and takes notice of the schedules."""
    seconds = [[start(each) for each in both] for _ in range(repeat)]
    return [median(each) for each in zip(*(seconds[1:] or seconds), strict=True)]


def _worker_ready(running: Service) -> float:
    (running.folder / "worker.log").unlink(missing_ok=True)
    running.start_worker()
    used = services.cpu_seconds(running.processes["worker"].pid)
    running.stop("worker", signal.SIGKILL)
    return used


def _first_tick(running: Service) -> float:
    (running.folder / "beat.log").unlink(missing_ok=True)
    running.start_beat("beat", "--loglevel", "DEBUG")
    used = services.cpu_until_logged(running, "beat", FIRST_TICK)
    running.stop("beat", signal.SIGKILL)
    return used


ROWS = (Row(name="starts", databases=("sqlite",), measure=_measure),)
