#!/usr/bin/env python3
"""Django's command-line utility, which runs jobs and the operator's commands."""

import os
import sys

from jobledger.management import execute_from_command_line, is_wrap


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
    if not is_wrap(sys.argv):
        load_settings()
    execute_from_command_line(sys.argv)


def load_settings() -> None:
    """End with a single line if they cannot be loaded."""
    try:
        from django.conf import settings
        from django.core.exceptions import ImproperlyConfigured
    except ImportError:
        sys.exit("Django is not installed for this Python: run `make venv`, then `. .venv/bin/activate`.")
    try:
        settings.INSTALLED_APPS  # noqa: B018 - the first access loads the settings
    except ImproperlyConfigured as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
