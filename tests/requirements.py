"""What tests need on this machine; otherwise they are skipped or, with ``REQUIRE_ALL_TESTS=1``, fail."""

import functools
import os
import shutil
import subprocess

PROBES = (
    ("docker", "version", "--format", "{{.Server.Version}}"),
    ("docker", "compose", "version", "--short"),
    ("docker", "buildx", "version"),
)


def docker_or_skip() -> None:
    """Skip the test unless containers can be built and run."""
    _or_skip(missing_docker())


def browser_or_skip() -> None:
    """Skip the test unless there is a browser."""
    _or_skip("" if chromium() else "Chromium is needed: on Debian, apt install chromium")


def systemd_or_skip() -> None:
    """Skip the test unless systemd's units can be checked; systemd need not be running."""
    _or_skip("" if shutil.which("systemd-analyze") else "systemd is needed: on Debian, apt install systemd")


def pgbouncer_or_skip() -> str:
    """Skip the test unless there is a PgBouncer; returns its path."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    _or_skip("" if program else "PgBouncer is needed: on Debian, apt install pgbouncer")
    return program or ""


def rabbitmq_or_skip() -> str:
    """Skip the test unless there is a RabbitMQ; returns the path of its server."""
    # Debian's /usr/sbin/rabbitmq-server starts this one as another user, with other folders.
    program = shutil.which("rabbitmq-server", path=f"/usr/lib/rabbitmq/bin:{os.environ['PATH']}")
    _or_skip("" if program else "RabbitMQ is needed: on Debian, apt install rabbitmq-server")
    return program or ""


def promtool_or_skip() -> None:
    """Skip the test unless Prometheus' rules can be checked."""
    _or_skip("" if shutil.which("promtool") else "promtool is needed: on Debian, apt install prometheus")


def chromium() -> str | None:
    """The path of the machine's Chromium, preferably of one without windows, which costs a third less."""
    names = "chromium-headless-shell", "chromium", "chromium-browser"
    return next(filter(None, map(shutil.which, names)), None)


def _or_skip(reason: str) -> None:
    if not reason:
        return
    # Not above: benchmarks also look for an engine, in an environment without pytest.
    import pytest

    if os.environ.get("REQUIRE_ALL_TESTS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@functools.cache
def missing_docker() -> str:
    """Why containers cannot be built and run here; empty if they can."""
    for probe in PROBES:
        try:
            subprocess.run(probe, check=True, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            return f"Docker with Compose and Buildx is needed: {' '.join(probe[:3])}: {said[-1]}"
    return ""
