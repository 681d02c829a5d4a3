"""Copies of a service's database, to try different things on the same rows, and a process that writes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from tests.integration.service import ROOT, Service


@contextmanager
def writing(copy: Service) -> Iterator[Callable[[], list[float]]]:
    """Another process writes all the time; returns how long each transaction took."""
    command = (sys.executable, "-m", "benchmarks.prune.ways", "write")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=copy.environment, stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout
        process.stdout.readline()

        def waits() -> list[float]:
            found: list[float] = json.loads(process.communicate()[0])
            return found

        try:
            yield waits
        finally:
            process.kill()


@contextmanager
def copied(made: Service) -> Iterator[Service]:
    """The service with a copy of its database."""
    if made.database_url.startswith("sqlite"):
        file = Path(made.database_url.removeprefix("sqlite:///"))
        copy = file.with_name("copy.sqlite3")
        shutil.copy(file, copy)
        with copy.open("rb") as written:
            # Otherwise, the first one to flush something to this file pays for the copy.
            os.fsync(written.fileno())
        yield Service(folder=made.folder, database_url=f"sqlite:///{copy}", variables=made.variables)
        for each in file.parent.glob("copy.sqlite3*"):
            each.unlink()
        return
    name = urlsplit(made.database_url).path.strip("/")
    url = made.database_url.replace(name, f"{name}_copy")
    server = made.database_url.replace(name, "postgres")
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}_copy" TEMPLATE "{name}"'.encode())
        yield Service(folder=made.folder, database_url=url, variables=made.variables)
        admin.execute(f'DROP DATABASE "{name}_copy" WITH (FORCE)'.encode())
