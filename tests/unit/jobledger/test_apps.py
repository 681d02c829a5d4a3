"""What a process imports, and what it connects."""

import os
import subprocess
import sys
from pathlib import Path

from proj.state import BASE_DIR

# Together more than half of the time that the smallest command took with them.
ONLY_OF_OTHERS = (
    "celery.apps.worker",
    "jobledger.admin",
    "jobledger.checks.jobs",
    "jobledger.checks.project",
    "jobledger.checks.schedules",
    "jobledger.health",
    "jobledger.schedules.due.ledger",
    "proj.urls",
    "redis",
    "rich",
)


def test_a_job_on_the_command_line_imports_nothing_that_only_other_processes_need(tmp_path: Path) -> None:
    code = (
        "import sys; from jobledger.management import execute_from_command_line;"
        "execute_from_command_line(['manage.py', 'hello']);"
        f"print([name for name in {ONLY_OF_OTHERS} if name in sys.modules])"
    )
    assert printed_last(code, tmp_path) == "[]"


EXECUTING = (
    "billiard.pool",
    "jobledger.admin",
    "jobledger.checks.jobs",
    "jobledger.runs.execution.isolation",
    "jobledger.runs.execution.runner",
    "proj.urls",
    "rich",
)
RARE = (
    "django.core.servers.basehttp",
    "jobledger.retention.pruning",
    "jobledger.runs.attempts",
    "jobledger.runs.elsewhere.ends",
    "jobledger.runs.lease.rescue",
    "jobledger.schedules.audit",
    "jobledger.schedules.backfills.backfilling",
    "jobledger.schedules.chains.starting",
    "jobledger.schedules.declared",
    "jobledger.tracing.spans",
    "psutil",
)
"""What only backfills, chains, lost runs and ends of tasks need, and what a command does or serves."""


def test_a_beat_imports_nothing_that_executes_jobs_or_serves_pages(tmp_path: Path) -> None:
    code = (
        "import sys; from celery.beat import Service; from proj.celery import app;"
        "app.loader.init_worker(); Service(app, scheduler_cls=app.conf.beat_scheduler).get_scheduler();"
        "from celery.signals import beat_init; beat_init.send(sender=None);"
        f"print([name for name in {EXECUTING + RARE} if name in sys.modules])"
    )
    assert printed_last(code, tmp_path) == "[]"


OF_CELERY = ("celery.", "kombu.")
"""What a worker has imported before it forks, unlike the process of this test."""


def test_a_workers_child_has_all_that_the_first_run_needs(tmp_path: Path) -> None:
    code = (
        "import sys; from proj.celery import app; app.loader.init_worker();"
        "from django.core.management import call_command; call_command('migrate', verbosity=0);"
        "from celery import signals;"
        "signals.celeryd_init.send(sender='here', instance=None, conf=app.conf, options={});"
        "before = set(sys.modules);"
        "task = app.tasks['tasks_app.hello'];"
        "task.push_request(id='8c6c7b2e-4a0e-4c62-b6f9-2a8c4d7d6c55', hostname='celery@here', headers={},"
        " is_eager=True);"
        "assert task.run()['status'] == 'succeeded';"
        f"print(sorted(name for name in set(sys.modules) - before if not name.startswith({OF_CELERY})))"
    )
    assert printed_last(code, tmp_path) == "[]"


def test_a_worker_connects_what_its_processes_need_when_it_starts(tmp_path: Path) -> None:
    code = (
        "import django; django.setup();"
        "from celery import signals; from jobledger.runs.service import pulse;"
        "from proj.celery import app;"
        "signals.celeryd_init.send(sender='here', instance=None, conf=app.conf, options={});"
        "print([uid for signal in (pulse.pulse, pulse.message_taken, signals.worker_process_init)"
        " for (uid, _), _ in signal.receivers])"
    )
    connected = printed_last(code, tmp_path)
    for name in (
        "ledger_connection.begin",
        "orphans.child",
        "orphans.reap",
        "presence.lives",
        "presence.message",
        "presence.touch",
        "process_group.child",
        "runs.output.salvage.open_own",
        "runs.output.salvage.relieve",
        "terminal",
    ):
        assert f"'jobledger.{name}'" in connected


def printed_last(code: str, folder: Path) -> str:
    """The last line that a new process prints."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "proj.settings",
        "SECRET_KEY": "only-for-tests",
        # What it imports does not depend on whether the run can be recorded.
        "DATABASE_URL": f"sqlite:///{folder}/empty.sqlite3",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()[-1]
