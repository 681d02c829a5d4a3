"""A process' version differs exactly when the code of the project's own apps, or the release, does."""

from pathlib import Path

import pytest
from django.test import Client

from jobledger import __version__
from jobledger.runs.worker import code_version as module
from jobledger.runs.worker.code_version import code_version, digest


def app(folder: Path, **files: str) -> Path:
    (folder / "management").mkdir(parents=True)
    for name, text in files.items():
        (folder / "management" / name.replace("_py", ".py")).write_text(text)
    return folder


def test_the_same_files_have_the_same_digest_wherever_they_are(tmp_path: Path) -> None:
    here, there = app(tmp_path / "here", a_py="1", b_py="2"), app(tmp_path / "there", b_py="2", a_py="1")
    (there / "notes.txt").write_text("no code")
    assert digest({"app": here}) == digest({"app": there})


@pytest.mark.parametrize("files", [{"a_py": "2"}, {"b_py": "1"}, {"a_py": "1", "b_py": ""}, {}])
def test_a_file_that_is_changed_renamed_added_or_removed_changes_it(
    tmp_path: Path, files: dict[str, str]
) -> None:
    assert digest({"app": app(tmp_path / "old", a_py="1")}) != digest({"app": app(tmp_path / "new", **files)})


def test_the_version_names_the_release_and_stays_while_the_process_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = code_version()
    assert version.startswith(f"{__version__}+")
    monkeypatch.setattr(module, "digest", lambda folders: "other")
    assert code_version() == version


def test_apps_that_are_installed_as_libraries_are_not_read() -> None:
    assert {"jobledger", "tasks_app"} <= set(module._own_apps())
    assert "django.contrib.auth" not in module._own_apps()


@pytest.mark.django_db
def test_a_web_server_reads_it_at_its_first_request(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(module, "code_version", lambda: asked.append("once"))
    module.connect()
    for _ in range(2):
        client.get("/healthz")
    assert asked == ["once"]
