"""What a process imports that is neither a worker nor a beat."""

import os
import subprocess
import sys

from proj.state import BASE_DIR

# Together a third of the time that the smallest command takes.
ONLY_OF_OTHERS = ("celery.apps.worker", "redis", "rich")


def test_a_command_imports_nothing_that_only_workers_or_operators_need() -> None:
    code = (
        "import sys, django; django.setup(); from django.core.management import call_command;"
        f"call_command('check'); print([name for name in {ONLY_OF_OTHERS} if name in sys.modules])"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "proj.settings", "SECRET_KEY": "only-for-tests"}
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
