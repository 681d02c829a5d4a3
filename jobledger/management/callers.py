"""How this process was called, so that cron or systemd can call the same ``manage.py``."""

import os
import sys
from pathlib import Path

from django.conf import ENVIRONMENT_VARIABLE
from django.core.management.base import CommandError

from jobledger.management.console import settings_in


def manage_py() -> Path:
    """The path of the ``manage.py`` that was called."""
    found = Path(sys.argv[0]).absolute()
    if found.name != "manage.py" or not found.is_file():
        raise CommandError("This needs the path of manage.py: call it as `manage.py jobledger …`")
    return found


def other_settings(manage: Path) -> str:
    """The settings module of this shell, which others do not have; empty if it is that of ``manage.py``."""
    module = os.environ.get(ENVIRONMENT_VARIABLE, "")
    return "" if module == settings_in(manage) else module
