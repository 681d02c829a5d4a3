"""An image is stale if the folder beside the Compose file is not what it was built from."""

from collections.abc import Callable
from pathlib import Path

import pytest

from proj import stale_image
from proj.stale_image import differences, main, notice

FILES = ("manage.py", "requirements/run.txt", "tasks_app/__init__.py", "tasks_app/commands/hello.py")


def write(folder: Path, name: str, text: str = "") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text or name)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    folder = tmp_path / "image"
    for name in (*FILES, "staticfiles/app.css", "tasks_app/__pycache__/hello.cpython-313.pyc"):
        write(folder, name)
    return folder


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """What the image was built from, and what is never in it."""
    folder = tmp_path / "sources"
    for name in (*FILES, ".env", "var/secret_key", "requirements/dev.txt", "tests/__init__.py", "README.md"):
        write(folder, name)
    return folder


def test_what_is_never_in_an_image_makes_none_stale(image: Path, sources: Path) -> None:
    write(sources, "tasks_app/.hello.py.swp")
    write(sources, "tasks_app/__pycache__/new.pyc")
    assert (differences(image, sources), notice(image, sources)) == ([], "")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda sources: write(sources, "tasks_app/__init__.py", "edited"), "tasks_app/__init__.py"),
        (lambda sources: write(sources, "manage.py", "MANAGE.PY"), "manage.py"),
        (lambda sources: write(sources, "tasks_app/commands/new.py"), "tasks_app/commands/new.py"),
        (lambda sources: (sources / "requirements/run.txt").unlink(), "requirements/run.txt"),
    ],
)
def test_an_edited_a_new_and_a_removed_file_make_it_stale(
    image: Path, sources: Path, change: Callable[[Path], None], name: str
) -> None:
    change(sources)
    assert differences(image, sources) == [name]
    assert notice(image, sources).startswith(
        f"Warning: this image is not what the folder contains now; {name} "
    )
    assert notice(image, sources).endswith("runs the new code.\n")


def test_a_notice_is_short(image: Path, sources: Path) -> None:
    for name in FILES[1:]:
        write(sources, name, "edited")
    assert "requirements/run.txt and 2 more changed" in notice(image, sources)


def test_a_folder_that_is_not_there_says_nothing(image: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert notice(image, tmp_path / "empty") == notice(image, tmp_path / "missing") == ""


def test_a_folder_that_cannot_be_read_says_nothing(
    image: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path) -> bytes:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    write(sources, "manage.py", "MANAGE.PY")
    assert notice(image, sources) == ""


@pytest.fixture
def notices(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of notices, which has one about an older build."""
    write(tmp_path, "build-id", "this-build\n")
    write(tmp_path, "notices/older-build")
    monkeypatch.setattr(stale_image, "IMAGE", image)
    monkeypatch.setattr(stale_image, "BUILD_ID", tmp_path / "build-id")
    monkeypatch.delenv("IMAGE", raising=False)
    return tmp_path / "notices"


def texts(notices: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in notices.iterdir()}


def test_the_notice_is_about_this_build_and_goes_once_the_image_is_current(
    image: Path, sources: Path, notices: Path
) -> None:
    write(sources, "manage.py", "edited")
    with pytest.raises(SystemExit, match="is not what the folder contains"):
        main([str(sources), str(notices)])
    assert texts(notices) == {"this-build": notice(image, sources)}
    write(image, "manage.py", "edited")
    main([str(sources), str(notices)])
    assert texts(notices) == {}


def test_an_image_that_was_chosen_by_name_is_not_compared(
    sources: Path, notices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGE", "registry.example.com/jobs:7")
    write(sources, "manage.py", "edited")
    main([str(sources), str(notices)])
    assert texts(notices) == {}
