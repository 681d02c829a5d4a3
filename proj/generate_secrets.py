"""The secrets that a service generates on its first start: ``python -m proj.generate_secrets FOLDER``.

Each secret is one file, without a newline, so that ``NAME_FILE`` variables can point at it. An existing file
is never changed, and a new one appears whole or not at all. This reads no settings: it runs before there is
a secret key.

What the db and redis containers have to know goes into folders of their own, ``FOLDER-for-db`` and
``FOLDER-for-redis``, so that each container mounts its own secrets and no others.
"""

import argparse
import hashlib
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Read by the users of the db and redis containers, whose IDs depend on their images. Their volumes, each
# mounted into one of these containers alone, keep others out.
READABLE = 0o644

# The ACL lets the application do what Celery and kombu do with Redis, and keep dead letters in a stream: no
# administration, KEYS or FLUSHALL.
# A queue may have any name, so the keys are not restricted; this Redis holds nothing but Celery's. Whoever
# connects without a password, like the health check, may ask whether Redis answers, as the user `health`.
REDIS_CONF = """\
user default off resetpass
user health on nopass resetkeys resetchannels -@all +ping
user jobs on #{password_sha256} ~* &* -@all +@list +@set +@sortedset +@hash +@string +@keyspace +@stream \
+@pubsub +@transaction +@scripting +@connection -@dangerous -@admin +info +time
"""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a secret is made, perhaps from another one, and which container reads it."""

    make: Callable[[Path], str]
    reader: str = ""
    """The service whose container alone reads it; empty: the application."""

    @property
    def mode(self) -> int:
        """The file's permissions."""
        return READABLE if self.reader else 0o600

    def folder(self, folder: Path) -> Path:
        """The folder that this secret is in when the application's secrets are in ``folder``."""
        return folder.with_name(f"{folder.name}-for-{self.reader}") if self.reader else folder


def random_key(folder: Path) -> str:
    """384 random bits in letters that need no quoting in a URL or a configuration file."""
    return secrets.token_urlsafe(48)


def redis_conf(folder: Path) -> str:
    """Redis's users. It holds a digest of the password instead of the password itself."""
    digest = hashlib.sha256(ensure(folder, "redis_password").encode()).hexdigest()
    return REDIS_CONF.format(password_sha256=digest)


RECIPES = {
    "secret_key": Recipe(make=random_key),
    "postgres_password": Recipe(make=random_key, reader="db"),
    "jobs_password": Recipe(make=random_key, reader="db"),
    "database_url": Recipe(
        make=lambda folder: f"postgres://jobs:{ensure(folder, 'jobs_password')}@db:5432/jobs"
    ),
    "redis_password": Recipe(make=random_key),
    "redis_url": Recipe(make=lambda folder: f"redis://jobs:{ensure(folder, 'redis_password')}@redis:6379/0"),
    "redis.conf": Recipe(make=redis_conf, reader="redis"),
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
    """The secret's value: the existing one, else a new one, which is kept."""
    recipe = RECIPES[name]
    file = recipe.folder(folder) / name
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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
