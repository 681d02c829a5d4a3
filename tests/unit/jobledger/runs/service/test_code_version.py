"""Two processes have different versions if and only if they run different code of ours or of the project."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.test import Client

from jobledger import __version__
from jobledger.runs.service import code_version as module
from jobledger.runs.service.code_version import code_version, digest
from tests.manual import ROOT


def app(folder: Path, **files: str) -> Path:
    (folder / "management").mkdir(parents=True)
    for name, text in files.items():
        (folder / "management" / name.replace("_py", ".py")).write_text(text)
    return folder


def test_the_digest_does_not_depend_on_where_the_files_are(tmp_path: Path) -> None:
    here, there = app(tmp_path / "here", a_py="1", b_py="2"), app(tmp_path / "there", b_py="2", a_py="1")
    (there / "notes.txt").write_text("no code")
    assert digest({"app": here}) == digest({"app": there})


@pytest.mark.parametrize("files", [{"a_py": "2"}, {"b_py": "1"}, {"a_py": "1", "b_py": ""}, {}])
def test_the_digest_changes_if_a_file_is_changed_renamed_added_or_removed(
    tmp_path: Path, files: dict[str, str]
) -> None:
    assert digest({"app": app(tmp_path / "old", a_py="1")}) != digest({"app": app(tmp_path / "new", **files)})


def test_the_version_contains_the_release_and_never_changes_within_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = code_version()
    assert version.startswith(f"{__version__}+")
    monkeypatch.setattr(module, "digest", lambda folders: "other")
    assert code_version() == version


def test_apps_installed_as_libraries_are_not_included(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "digest", " ".join)
    included = code_version.__wrapped__().partition("+")[2].split()
    assert {"jobledger", "tasks_app"} <= set(included)
    assert "django.contrib.auth" not in included


@pytest.mark.parametrize("serves", [True, False])
def test_a_web_server_computes_its_version_before_its_first_request_and_a_command_does_not(
    serves: bool,
) -> None:
    code = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
if sys.argv[1:]:
    import proj.wsgi
else:
    import django
    django.setup()
from jobledger.runs.service.code_version import code_version
print(code_version.cache_info().currsize)
"""
    arguments = ["serve"] if serves else []
    started = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert started.stdout == f"{int(serves)}\n"


@pytest.mark.django_db
def test_a_server_that_loads_the_application_in_another_way_computes_it_at_its_first_request(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SERVERS", set())
    asked: list[str] = []
    monkeypatch.setattr(module, "code_version", lambda: asked.append("once"))
    module.connect()
    for _ in range(2):
        client.get("/healthz")
    assert asked == ["once"]
