#!/usr/bin/env python3
"""Django's command-line utility, which runs jobs and the operator's commands."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
    try:
        from django.conf import settings
        from django.core.exceptions import ImproperlyConfigured

        from jobledger.management import execute_from_command_line
    except ImportError:
        sys.exit("Django is not installed for this Python: run `make venv`, then `. .venv/bin/activate`.")
    try:
        settings.INSTALLED_APPS  # noqa: B018 - the first access loads the settings
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
