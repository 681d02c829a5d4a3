"""The secrets that a service makes for itself on its first start: ``python -m proj.generate_secrets FOLDER``.

Each secret is one file, without a newline, so that ``NAME_FILE`` variables can point at it. One that
exists is never touched, and a new one appears whole or not at all. Reads no settings: it runs before
there is a key.
"""

import argparse
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Read by the users of the db and redis containers, whose numbers are their images' own affair. Their
# volume, mounted into these containers alone, keeps others out.
FOR_OTHER_CONTAINERS = 0o644


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a secret is made, perhaps from another one in the same folder, and who may read its file."""

    make: Callable[[Path], str]
    mode: int = 0o600


def random_key(folder: Path) -> str:
    """384 random bits in letters that need no quoting in a URL or a configuration file."""
    return secrets.token_urlsafe(48)


RECIPES = {
    "secret_key": Recipe(make=random_key),
    "postgres_password": Recipe(make=random_key, mode=FOR_OTHER_CONTAINERS),
    "database_url": Recipe(
        make=lambda folder: f"postgres://jobs:{ensure(folder, 'postgres_password')}@db:5432/jobs"
    ),
    "redis_password": Recipe(make=random_key),
    "redis_url": Recipe(make=lambda folder: f"redis://:{ensure(folder, 'redis_password')}@redis:6379/0"),
    "redis.conf": Recipe(
        make=lambda folder: f"requirepass {ensure(folder, 'redis_password')}",
        mode=FOR_OTHER_CONTAINERS,
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing of the named secrets, or of all."""
    parser = argparse.ArgumentParser(prog="generate_secrets", description=main.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RECIPES)}")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(RECIPES)):
        parser.error(f"no such secret: {', '.join(unknown)} (choose from {', '.join(RECIPES)})")
    for name in options.names or RECIPES:
        ensure(options.folder, name)


def ensure(folder: Path, name: str) -> str:
    """The secret's value: the one in the folder, else a new one that is there from now on."""
    file = folder / name
    if not file.exists():
        recipe = RECIPES[name]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_once(file, recipe.make(folder), recipe.mode)
    return file.read_text()


def write_once(file: Path, value: str, mode: int) -> None:
    """Write the whole file under its name, unless that name is taken: then the first writer's value stays."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(value)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.link(temporary, file)
    except FileExistsError:
        pass
    else:
        sys.stdout.write(f"generated {file}\n")
    finally:
        Path(temporary).unlink()


if __name__ == "__main__":
    main()
