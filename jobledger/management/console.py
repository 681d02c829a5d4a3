"""The console script ``jobledger``: does what ``manage.py jobledger`` does, without a path to ``manage.py``.

It takes the settings module from ``--settings``, from DJANGO_SETTINGS_MODULE, or from the ``manage.py`` in
the current directory, which is added to the import path, as ``manage.py`` itself does. Without usable
settings it prints a single line and exits with 2.
"""

import ast
import os
import sys
from argparse import ArgumentParser
from pathlib import Path

import django
from django.apps import apps
from django.conf import ENVIRONMENT_VARIABLE
from django.core.exceptions import ImproperlyConfigured
from django.core.management import handle_default_options

NAME = "jobledger"
NO_SETTINGS = (
    f"no Django settings found: set {ENVIRONMENT_VARIABLE}, pass --settings, "
    "or change to the directory of your project's manage.py"
)


def main() -> None:
    """Set up Django and run the command."""
    sys.path.insert(0, str(Path.cwd()))
    _set_up(_own_options())
    # Imported late, since it needs the app registry.
    from jobledger.management.commands.jobledger import Command

    Command().run_from_argv([NAME, NAME, *sys.argv[1:]])


def settings_in(manage_py: Path) -> str:
    """The default settings module that this file sets; empty if it sets none."""
    try:
        tree = ast.parse(manage_py.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) == 2)
    for call in calls:
        match call:
            case ast.Call(
                func=ast.Attribute(attr="setdefault"),
                args=[ast.Constant(value=name), ast.Constant(value=str(module))],
            ) if name == ENVIRONMENT_VARIABLE:
                return module
    return ""


def _own_options() -> ArgumentParser:
    parser = ArgumentParser(prog=NAME, add_help=False, allow_abbrev=False)
    parser.add_argument("--settings")
    parser.add_argument("--pythonpath")
    return parser


def _set_up(parser: ArgumentParser) -> None:
    options, _ = parser.parse_known_args()
    handle_default_options(options)
    module = os.environ.get(ENVIRONMENT_VARIABLE) or settings_in(Path("manage.py"))
    if not module:
        parser.exit(2, f"{NAME}: {NO_SETTINGS}\n")
    os.environ[ENVIRONMENT_VARIABLE] = module
    try:
        django.setup()
    except (ImportError, ImproperlyConfigured) as error:
        parser.exit(2, f"{NAME}: the settings module {module} cannot be loaded: {error}\n")
    if not apps.is_installed(NAME):
        parser.exit(2, f"{NAME}: INSTALLED_APPS in {module} does not include {NAME!r}\n")
