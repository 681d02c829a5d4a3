"""However many requests hang, the web server's health checks are answered."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.http import StreamingHttpResponse
from django.urls import include, path

from jobledger import reserve
from jobledger.reserve import RESERVED_THREADS, Reserve
from tests.waiting import DEADLINE_SECONDS, wait_until

urlpatterns = [path("", include("jobledger.urls")), path("prefix/", include("jobledger.urls"))]

THREADS = 5
LIMIT = THREADS - RESERVED_THREADS


class Site:
    """A web server with a few threads, whose pages hang until they may go on."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self.may_go_on = threading.Event()
        self.hanging = 0
        self._reserve = Reserve(self._answer, threads=THREADS)

    def get(self, path: str) -> "Future[str]":
        return self._pool.submit(self._get, path)

    def _get(self, path: str) -> str:
        statuses: list[str] = []
        start: Callable[..., Any] = lambda status, headers: statuses.append(status)  # noqa: E731
        list(self._reserve({"PATH_INFO": path}, start))
        return statuses[0][:3]

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/admin/":
            self.hanging += 1
            self.may_go_on.wait(DEADLINE_SECONDS)
        start_response("200 OK", [])
        return []


@pytest.fixture
def site() -> Iterator[Site]:
    with ThreadPoolExecutor(THREADS) as pool:
        made = Site(pool)
        yield made
        made.may_go_on.set()


@pytest.fixture
def stuck(site: Site, monkeypatch: pytest.MonkeyPatch) -> "list[Future[str]]":
    """As many requests as the reserve admits, for longer than anybody would wait."""
    pages = [site.get("/admin/") for _ in range(LIMIT)]
    wait_until(lambda: site.hanging == LIMIT, what="they hang")
    monkeypatch.setattr(reserve, "STUCK_AFTER_SECONDS", 0)
    return pages


@pytest.mark.usefixtures("stuck")
@pytest.mark.parametrize("path", ["/livez", "/healthz", "/prefix/readyz"])
@pytest.mark.urls(__name__)
def test_probes_are_answered_although_all_pages_hang(site: Site, path: str) -> None:
    others = [site.get("/admin/") for _ in range(2 * THREADS)]
    assert site.get(path).result(DEADLINE_SECONDS) == "200"
    assert {other.result(DEADLINE_SECONDS) for other in others} == {"503"}
    assert site.hanging == LIMIT


@pytest.mark.usefixtures("stuck")
@pytest.mark.parametrize("path", ["/admin/livez", "/admin/jobledger/run/healthz", "/nothing/readyz"])
def test_a_page_whose_address_ends_like_that_of_a_probe_is_none(site: Site, path: str) -> None:
    """The admin reads its visitor's session from the database, whatever the page."""
    assert site.get(path).result(DEADLINE_SECONDS) == "503"


def test_pages_are_displayed_again_once_those_that_hang_have_ended(
    site: Site, stuck: "list[Future[str]]"
) -> None:
    assert site.get("/admin/").result(DEADLINE_SECONDS) == "503"
    site.may_go_on.set()
    assert [page.result(DEADLINE_SECONDS) for page in stuck] == ["200"] * LIMIT
    assert site.get("/admin/").result(DEADLINE_SECONDS) == "200"


def test_a_request_waits_for_its_turn_while_the_others_are_recent(
    site: Site, stuck: "list[Future[str]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserve, "STUCK_AFTER_SECONDS", 3600)
    monkeypatch.setattr(reserve, "WAIT_SECONDS", DEADLINE_SECONDS)
    waiting = site.get("/admin/")
    site.may_go_on.set()
    assert waiting.result(DEADLINE_SECONDS) == "200"


def test_but_not_for_ever(site: Site, stuck: "list[Future[str]]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve, "STUCK_AFTER_SECONDS", 3600)
    monkeypatch.setattr(reserve, "WAIT_SECONDS", 0.01)
    assert site.get("/admin/").result(DEADLINE_SECONDS) == "503"


def test_a_request_that_fails_makes_way(site: Site) -> None:
    def fail(environ: Any, start_response: Any) -> list[bytes]:
        raise ValueError("no")

    failing = Reserve(fail, threads=1)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            failing({"PATH_INFO": "/"}, lambda *given: None)


@pytest.mark.django_db  # at its end, Django looks at the connections that there are
def test_a_response_that_is_streamed_occupies_its_thread_until_it_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reserve, "STUCK_AFTER_SECONDS", 0)
    response = StreamingHttpResponse([b"line"])
    site = Reserve(lambda *given: response, threads=1)
    statuses: list[str] = []

    def start(status: str, headers: object) -> None:
        statuses.append(status)

    streamed = site({"PATH_INFO": "/log"}, start)
    assert list(streamed) == [b"line"]
    with ThreadPoolExecutor(1) as another:
        another.submit(site, {"PATH_INFO": "/log"}, start).result(DEADLINE_SECONDS)
        assert statuses == ["503 Service Unavailable"]
        streamed.close()  # type: ignore[attr-defined]
        assert response.closed
        another.submit(site, {"PATH_INFO": "/log"}, start).result(DEADLINE_SECONDS)
    assert len(statuses) == 1


@pytest.mark.usefixtures("stuck")
@pytest.mark.parametrize(("method", "has_body"), [("GET", True), ("HEAD", False)])
def test_a_refusal_of_head_has_no_body(site: Site, method: str, has_body: bool) -> None:
    environ = {"PATH_INFO": "/admin/", "REQUEST_METHOD": method}
    assert bool(b"".join(site._reserve(environ, lambda *given: None))) == has_body
