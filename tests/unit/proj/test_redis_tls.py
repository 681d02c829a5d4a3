"""A Redis server whose certificate is not trusted, or is for another host, is refused."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from jobledger.celery import configure
from tests.tls import CA, tls_in_front_of


@pytest.fixture(scope="module")
def ca() -> CA:
    return CA()


@pytest.fixture(scope="module", params=["localhost", "elsewhere.example.com"])
def server(request: pytest.FixtureRequest, ca: CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The name in the server's certificate, and its port. There is nothing behind it."""
    nothing: Path = tmp_path_factory.mktemp("redis") / "nothing.sock"
    with tls_in_front_of(nothing, ca=ca, name=request.param) as port:
        yield request.param, port


def app_for(url: str, **settings: Any) -> Celery:
    app = Celery("mine", set_as_current=False)
    app.config_from_object(
        SimpleNamespace(CELERY_BROKER_URL=url, CELERY_RESULT_BACKEND=url, **settings), namespace="CELERY"
    )
    configure(app)
    return app


def is_accepted(error: str) -> bool:
    """Whether the connection ended only after the handshake, whatever the client was doing then."""
    return any(end in error for end in ("Connection closed", "Connection reset", "Broken pipe"))


def errors_of(app: Celery) -> Iterator[str]:
    """Why the broker and the result backend cannot be used."""
    with warnings.catch_warnings(), app.connection_for_write() as connection:
        # kombu leaves sockets to the garbage collector when a handshake fails.
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(OperationalError) as broker:
            connection.ensure_connection(max_retries=1, interval_start=0)
    yield str(broker.value)
    with pytest.raises(RedisError) as backend:
        app.backend.client.ping()  # type: ignore[attr-defined]  # not in the stubs
    yield str(backend.value)


def trusting(ca: CA) -> dict[str, Any]:
    options = {"ssl_cert_reqs": "required", "ssl_ca_data": ca.pem}
    return {"CELERY_BROKER_USE_SSL": options, "CELERY_REDIS_BACKEND_USE_SSL": options}


@pytest.mark.parametrize("trusted", [{}, trusting(CA())], ids=["the system's CAs", "another CA"])
def test_a_certificate_of_an_unknown_ca_is_refused(server: tuple[str, int], trusted: dict[str, Any]) -> None:
    app = app_for(f"rediss://localhost:{server[1]}/0", **trusted)
    for error in errors_of(app):
        assert "certificate verify failed: unable to get local issuer certificate" in error


def test_a_certificate_must_be_for_the_host(ca: CA, server: tuple[str, int]) -> None:
    name, port = server
    app = app_for(f"rediss://localhost:{port}/0", **trusting(ca))
    for error in errors_of(app):
        assert is_accepted(error) is (name == "localhost")
        assert ("Hostname mismatch, certificate is not valid" in error) is (name != "localhost")


def test_the_url_may_ask_for_no_verification(server: tuple[str, int]) -> None:
    app = app_for(f"rediss://localhost:{server[1]}/0?ssl_cert_reqs=none")
    for error in errors_of(app):
        assert is_accepted(error)
