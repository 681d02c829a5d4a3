"""Which of the service's processes this is."""

import sys
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
    path = Path(sys.argv[0] if sys.argv else "")
    # ``python -m celery`` has the path of a file in the package.
    program = path.parent.name if path.name == "__main__.py" else path.stem
    if program == "celery":
        return next((word for word in sys.argv[1:] if word in (WORKER, BEAT)), COMMAND)
    is_server = program in _SERVERS or "runserver" in sys.argv[1:2]
    return WEB if is_server else COMMAND
