"""Requests to addresses that users choose: by default, they cannot reach what is behind the firewall.

A name is resolved once, and only the addresses that have been checked are connected to: otherwise, a name
server could answer differently the second time. Redirects are followed in the same way, and only to HTTP
addresses. Through a proxy (``HTTPS_PROXY``), it is the proxy that resolves names and has to decide.
"""

import socket
import ssl
import urllib.request
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from jobledger.conf import settings


class ForbiddenAddressError(OSError):
    """The host may not be requested."""

    def __init__(self) -> None:
        super().__init__("Its host is neither on the public internet nor in PING_NETWORKS.")


def opener() -> urllib.request.OpenerDirector:
    """Opens HTTP addresses on the public internet, and in the networks of ``PING_NETWORKS``."""
    made = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _HttpHandler(),
        _HttpsHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        made.add_handler(handler)
    return made


def is_allowed(address: str) -> bool:
    """Whether this IP address may be requested."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    if parsed.is_global and not parsed.is_multicast:
        return True
    return any(parsed in ip_network(network) for network in settings.PING_NETWORKS)


class _Connection(HTTPConnection):
    def connect(self) -> None:
        self.sock = _connected(self.host, self.port, self.timeout)


class _TlsConnection(HTTPSConnection):
    def connect(self) -> None:
        connected = _connected(self.host, self.port, self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(connected, server_hostname=self.host)


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(HTTPConnection if _is_proxied(req) else _Connection, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(HTTPSConnection if _is_proxied(req) else _TlsConnection, req)


def _is_proxied(request: urllib.request.Request) -> bool:
    # For a proxy, its host has taken the place of the address's own.
    return request.host != urlsplit(request.full_url).netloc


def _connected(host: str, port: int, timeout: float | None) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    allowed = [address for *_, address in found if is_allowed(str(address[0]))]
    failure: OSError = ForbiddenAddressError()
    for address in allowed:
        try:
            return socket.create_connection((str(address[0]), port), timeout)
        except OSError as error:
            failure = error
    raise failure
