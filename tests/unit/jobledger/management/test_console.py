"""The console script reads a project's settings module from its ``manage.py``."""

from pathlib import Path

import pytest

from jobledger.management.console import settings_in
from proj.state import BASE_DIR


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mine.settings')\n", "mine.settings"),
        ("def main():\n    environ.setdefault('DJANGO_SETTINGS_MODULE', 'a.b')\n", "a.b"),
        ("os.environ.setdefault('OTHER', 'a')\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'b')\n", "b"),
        ("os.environ.setdefault('OTHER', 'a')\n", ""),
        ("os.environ.setdefault('DJANGO_SETTINGS_MODULE', name)\n", ""),
        ("os.environ.setdefault('DJANGO_SETTINGS_MODULE')\n", ""),
        ("raise SystemExit('was run')\n", ""),
        ("this is no Python", ""),
        ("\0", ""),
    ],
)
def test_settings_are_read_from_manage_py_without_running_it(
    tmp_path: Path, source: str, module: str
) -> None:
    manage_py = tmp_path / "manage.py"
    manage_py.write_text(source)
    assert settings_in(manage_py) == module


def test_the_manage_py_of_this_repository_names_its_settings() -> None:
    assert settings_in(BASE_DIR / "manage.py") == "proj.settings"


def test_a_missing_manage_py_has_no_settings() -> None:
    assert settings_in(BASE_DIR / "no-such-file") == ""
