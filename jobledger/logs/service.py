"""Which of the service's processes this is."""

import sys
from functools import lru_cache
from pathlib import Path

_SERVERS = ("daphne", "gunicorn", "hypercorn", "mod_wsgi", "uvicorn", "uwsgi", "waitress-serve")
WEB, WORKER, BEAT, COMMAND = "web", "worker", "beat", "command"
_given = ""


def name_service(name: str) -> None:
    """For a process whose command line does not say what it is."""
    global _given  # noqa: PLW0603 - of a process
    _given = name


def service() -> str:
    """``web``, ``worker``, ``beat``, or ``command`` for everything else."""
    if _given:
        return _given
    return _started_by(*sys.argv)


@lru_cache(maxsize=8)
def _started_by(program: str = "", *words: str) -> str:
    path = Path(program)
    # ``python -m celery`` has the path of a file in the package.
    name = path.parent.name if path.name == "__main__.py" else path.stem
    if name == "celery":
        return next((word for word in words if word in (WORKER, BEAT)), COMMAND)
    is_server = name in _SERVERS or "runserver" in words[:1]
    return WEB if is_server else COMMAND
