"""Whoever may change a schedule's ping URL cannot reach what only this machine can reach."""

import socket
from typing import Any

import pytest
from pytest_django import Settings

from jobledger.alerts.sending import pings, public_requests
from jobledger.conf import is_address
from tests.receivers import web_server
from tests.unit.builders import override

PUBLIC = "93.184.215.14"


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "224.0.0.1"),
        # Ways of IPv6 to an IPv4 address, and what is not allocated.
        *("64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "2002:a00:1::", "2001:0:7f00:1::"),
        *("::127.0.0.1", "fec0::1", "64:ff9b:1::a00:1", "ff0e::1", "4000::1"),
    ],
)
def test_an_address_that_is_not_public_is_not_allowed(address: str) -> None:
    assert not public_requests.is_allowed(address)


@pytest.mark.parametrize(
    "address", [PUBLIC, "2606:2800:21f:cb07::1", f"::ffff:{PUBLIC}", f"64:ff9b::{PUBLIC}"]
)
def test_a_public_address_is_allowed(address: str) -> None:
    assert public_requests.is_allowed(address)


def test_a_network_that_the_settings_name_is_allowed(settings: Settings) -> None:
    override(settings, PING_NETWORKS=["10.1.0.0/16", "fd00::/8"])
    allowed = ("10.1.2.3", "10.2.2.3", "fd00::1", "::ffff:10.1.2.3")
    assert [public_requests.is_allowed(each) for each in allowed] == [True, False, True, True]


WAYS_TO_THIS_MACHINE = [
    *("127.0.0.1", "localhost", "localhost.", "LOCALHOST", "127.1", "0", "0.0.0.0", "2130706433"),
    *("0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::127.0.0.1]"),
    # Percent-encoded, with a user name, a backslash, a zone, and other digits and dots.
    *("127.0.0.%31", "%6cocalhost", "127.0.0.1%00", "ann@127.0.0.1", "93.184.215.14@127.0.0.1"),
    *(
        "93.184.215.14\\@127.0.0.1",
        "127.0.0.1%2f",
        "[::1%25lo]",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "127.0.0.\uff11",
    ),
]


@pytest.mark.parametrize("host", WAYS_TO_THIS_MACHINE)
def test_nothing_is_sent_to_this_machine(host: str) -> None:
    with web_server() as received, pytest.raises(pings.PingError):
        pings.request(f"http://{host}:{received.port}/", b"")
    assert received.requests == []


@pytest.mark.parametrize("host", WAYS_TO_THIS_MACHINE)
def test_a_redirect_leads_to_this_machine_in_no_way(settings: Settings, host: str) -> None:
    override(settings, PING_NETWORKS=["127.0.0.2/32"])
    with web_server() as inside:
        # A header has these characters as the bytes of UTF-8.
        location = f"http://{host}:{inside.port}/".encode().decode("latin-1")
        with (
            web_server(status=302, location=location, host="127.0.0.2") as outside,
            pytest.raises(pings.PingError),
        ):
            pings.request(f"http://127.0.0.2:{outside.port}/", b"")
    assert len(outside.requests) == 1
    assert inside.requests == []


@pytest.mark.parametrize(
    "url", ["http://169.254.169.25%34/", "http://ann:pw@host/", "http://a\\b/", "http://a b/"]
)
def test_a_host_that_may_be_read_in_different_ways_is_not_an_address(url: str) -> None:
    assert not is_address(url)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_through_a_proxy_no_host_is_requested_that_it_may_read_differently(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with web_server() as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(pings.PingError, match="PING_NETWORKS"):
            pings.request(f"{scheme}://127.0.0.%31/", b"")
    assert proxy.paths == []


def test_what_bypasses_a_proxy_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with web_server() as inside, web_server() as proxy:
        for scheme in "http", "https":
            monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{proxy.port}")
            with pytest.raises(pings.PingError, match="PING_NETWORKS"):
                pings.request(f"{scheme}://127.0.0.1:{inside.port}/", b"")
    assert inside.paths == proxy.paths == []


def test_a_name_is_resolved_once_and_connected_to_an_allowed_address_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name server may mix public and private addresses, and answer differently each time."""
    answers = [[PUBLIC, "127.0.0.1"], ["127.0.0.1"]]
    connected: list[Any] = []

    def resolve(host: str, port: int, **kwargs: Any) -> list[Any]:
        family, kind = socket.AF_INET, socket.SOCK_STREAM
        return [(family, kind, 6, "", (address, port)) for address in answers.pop(0)]

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    for scheme, port in ("http", 80), ("https", 443):
        answers[:] = [[PUBLIC, "127.0.0.1"], ["127.0.0.1"]]
        with pytest.raises(pings.PingError, match="refused"):
            pings.request(f"{scheme}://rebinding.example/", b"")
        assert connected.pop() == (PUBLIC, port)
        assert connected == []


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/", "http://localhost:{port}/"])
def test_a_redirect_leads_to_no_other_network(settings: Settings, target: str) -> None:
    override(settings, PING_NETWORKS=["127.0.0.2/32"])
    with web_server() as inside:
        location = target.format(port=inside.port)
        with (
            web_server(status=302, location=location, host="127.0.0.2") as outside,
            pytest.raises(pings.PingError, match="PING_NETWORKS"),
        ):
            pings.request(f"http://127.0.0.2:{outside.port}/", b"")
    assert len(outside.requests) == 1
    assert inside.requests == []


def test_a_redirect_to_an_allowed_address_is_followed(settings: Settings) -> None:
    override(settings, PING_NETWORKS=["127.0.0.0/8"])
    with web_server() as second:
        moved = f"http://127.0.0.1:{second.port}/moved"
        with web_server(status=302, location=moved) as first:
            pings.request(f"http://127.0.0.1:{first.port}/", b"")
    assert second.paths == ["/moved"]


def test_a_proxy_decides_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        pings.request("http://monitor.example/uuid", b"")
    assert proxy.paths == ["http://monitor.example/uuid"]


def test_the_projects_own_monitor_may_be_anywhere() -> None:
    with web_server() as received:
        pings.request(f"http://127.0.0.1:{received.port}/beat", b"", anywhere=True)
    assert received.paths == ["/beat"]
