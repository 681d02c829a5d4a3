"""``manage.py`` loads the settings before Django does, to report in one line if that fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("option", [["--settings=other_settings"], ["--settings", "other_settings"]])
def test_the_settings_of_the_command_line_are_used(tmp_path: Path, option: list[str]) -> None:
    (tmp_path / "other_settings.py").write_text("SECRET_KEY, TIME_ZONE = 'x', 'Asia/Tokyo'\n")
    found = subprocess.run(
        [sys.executable, "manage.py", "diffsettings", *option, "--pythonpath", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
    )
    assert "TIME_ZONE = 'Asia/Tokyo'" in found.stdout
