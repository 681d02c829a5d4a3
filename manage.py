#!/usr/bin/env python3
"""Django's command-line utility, which runs jobs and the operator's commands."""

import os
import sys
from contextlib import suppress

from jobledger.management import execute_from_command_line, is_wrap


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
    if not is_wrap(sys.argv):
        load_settings(sys.argv[2:])
    execute_from_command_line(sys.argv)


def load_settings(arguments: list[str]) -> None:
    """Load those that ``--settings`` names, or else the usual ones; end with a single line if that fails."""
    try:
        from django.conf import settings
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management.base import CommandError, CommandParser, handle_default_options
    except ImportError:
        sys.exit("Django is not installed for this Python: run `make venv`, then `. .venv/bin/activate`.")
    # As Django does it, which is too late once they have been loaded.
    parser = CommandParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--settings")
    parser.add_argument("--pythonpath")
    with suppress(CommandError):
        handle_default_options(parser.parse_known_args(arguments)[0])
    try:
        settings.INSTALLED_APPS  # noqa: B018 - the first access loads the settings
    except ImproperlyConfigured as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
