"""Generates secrets on the first start: ``python -m proj.generate_secrets FOLDER``.

Each secret is a file without a trailing newline, for use with ``NAME_FILE`` variables. Existing files are
never changed, and new files are written atomically. This module does not read the settings, because it runs
before there is a secret key.

Secrets that the db and redis containers need are in separate directories, ``FOLDER-for-db`` and
``FOLDER-for-redis``, so that each container mounts only its own.
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

from proj.state import REDIS_KEY_PREFIX

# Read by the users of the db and redis containers, whose user IDs depend on the images. Nobody else has
# access, because each volume is mounted only in the container concerned.
READABLE = 0o644

# The ACL allows the application the commands that Celery, kombu and the stream of dead letters use, on keys
# and channels with the service's prefix; no administration, and no list of other keys. kombu subscribes to
# patterns, which Redis compares literally with those of the ACL: those of remote control and of events are
# listed. The health check connects without a password, as the user `health`, who may only ping.
REDIS_CONF = """\
user default off resetpass
user health on nopass resetkeys resetchannels -@all +ping
user jobs on #{password_sha256} ~{prefix}* &{prefix}* &{prefix}/0.celery.pidbox &{prefix}/0.celeryev/* \
&{prefix}/0.celeryev/worker.* -@all +@list +@set +@sortedset +@hash +@string +@stream \
+@keyspace -scan -randomkey -dbsize +@pubsub +@transaction +@scripting +@connection -@dangerous -@admin \
+info +time
"""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a secret is generated, possibly from another one, and which container reads it."""

    make: Callable[[Path], str]
    reader: str = ""
    """The service whose container reads it; empty: the application."""

    @property
    def mode(self) -> int:
        """The file's permissions."""
        return READABLE if self.reader else 0o600

    def folder(self, folder: Path) -> Path:
        """The directory of this secret, if the application's secrets are in ``folder``."""
        return folder.with_name(f"{folder.name}-for-{self.reader}") if self.reader else folder


def random_key(folder: Path) -> str:
    """384 random bits, encoded so that they need no quoting in URLs and configuration files."""
    return secrets.token_urlsafe(48)


def redis_conf(folder: Path) -> str:
    """The configuration of Redis' users, with a digest instead of the password."""
    digest = hashlib.sha256(ensure(folder, "redis_password").encode()).hexdigest()
    return REDIS_CONF.format(password_sha256=digest, prefix=REDIS_KEY_PREFIX)


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
    """Generate the named secrets, or all of them, unless they exist."""
    parser = argparse.ArgumentParser(prog="generate_secrets", description=main.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(RECIPES)}")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(RECIPES)):
        parser.error(f"no such secret: {', '.join(unknown)} (choose from {', '.join(RECIPES)})")
    for name in options.names or RECIPES:
        ensure(options.folder, name)


def ensure(folder: Path, name: str) -> str:
    """The secret's value; it is generated and stored if it does not exist."""
    recipe = RECIPES[name]
    file = recipe.folder(folder) / name
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_once(file, recipe.make(folder), recipe.mode)
    return file.read_text()


def write_once(file: Path, value: str, mode: int) -> None:
    """Create the file atomically; if it already exists, leave it alone."""
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
