"""Finds out whether an image is what the folder beside the Compose file contains.

``python -m proj.stale_image SOURCES NOTICES`` fails if it is not, with a notice in a file in NOTICES. The
file is named after the build of the image, whose entry point prints it, on stderr.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

IMAGE = Path(__file__).parent.parent
BUILD_ID = Path("/build-id")
_MADE_IN_THE_IMAGE = {"staticfiles", "__pycache__"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Exit with 1 if this image is stale. A folder that cannot be read, or is on another machine, passes."""
    parser = argparse.ArgumentParser(prog="stale_image", description=main.__doc__)
    parser.add_argument("sources", type=Path)
    parser.add_argument("notices", type=Path)
    options = parser.parse_args(arguments)
    # An image that was chosen by its name comes from elsewhere on purpose.
    text = "" if os.environ.get("IMAGE") else notice(IMAGE, options.sources)
    for old in options.notices.iterdir():
        old.unlink()
    if text:
        (options.notices / BUILD_ID.read_text().strip()).write_text(text)
        sys.exit(text)


def notice(image: Path, sources: Path) -> str:
    """A line for operators; empty if the image is up to date, or if nobody knows."""
    try:
        found = differences(image, sources) if (sources / "manage.py").exists() else []
    except OSError:
        return ""
    if not found:
        return ""
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"Warning: this image is not what the folder contains now; {found[0]}{more} changed since. "
        "`docker compose up`, without naming services, runs the new code.\n"
    )


def differences(image: Path, sources: Path) -> list[str]:
    """The files of the image that the folder has not, or not like this, and the new files of its packages."""
    in_image = set(_files(image))
    packages = {file.parent.name for file in image.glob("*/__init__.py")}
    new = {path for name in packages for path in _files(sources, name)} - in_image
    changed = {path for path in in_image if not _is_same(image / path, sources / path)}
    return sorted(new | changed)


def _files(folder: Path, below: str = "") -> Iterator[str]:
    for parent, folders, names in os.walk(folder / below):
        folders[:] = [name for name in folders if name not in _MADE_IN_THE_IMAGE and name[0] != "."]
        for name in names:
            if name[0] != "." and not name.endswith((".pyc", ".pyo", ".pyd")):
                yield str((Path(parent) / name).relative_to(folder))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    main()
