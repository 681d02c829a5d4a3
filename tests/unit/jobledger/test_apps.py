"""What a process imports that is neither a worker nor a beat."""

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
    "jobledger.schedules.ledger",
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
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "proj.settings",
        "SECRET_KEY": "only-for-tests",
        # What it imports does not depend on whether the run can be recorded.
        "DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3",
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
    assert done.stdout.splitlines()[-1] == "[]"
