"""Requests to addresses that users choose: by default, they cannot reach what is behind the firewall.

A name is resolved once, and only the addresses that have been checked are connected to: otherwise, a name
server could answer differently the second time. Redirects are followed in the same way, and only to HTTP
addresses. Through a proxy (``HTTPS_PROXY``), it is the proxy that resolves names and has to decide.

A host may be written in many ways, so what decides is the address that it is about to be connected to.
"""

import socket
import ssl
import urllib.request
from http.client import HTTPConnection, HTTPMessage, HTTPResponse, HTTPSConnection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import IO, Any
from urllib.error import HTTPError

from jobledger.conf import is_address, settings

_GLOBAL_IPV6 = IPv6Network("2000::/3")
"""All that has been allocated for the public internet."""
_NAT64 = IPv6Network("64:ff9b::/96")


class ForbiddenAddressError(OSError):
    """The host may not be requested."""

    def __init__(self) -> None:
        super().__init__("Its host is neither on the public internet nor in PING_NETWORKS.")


class RedirectError(OSError):
    """The host has answered with a redirect, which cannot be followed."""


def opener() -> urllib.request.OpenerDirector:
    """Opens HTTP addresses on the public internet, and in the networks of ``PING_NETWORKS``."""
    made = urllib.request.OpenerDirector()
    proxies = _ProxyHandler()
    for handler in (
        proxies,
        _HttpHandler(proxies),
        _HttpsHandler(proxies),
        _RedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        made.add_handler(handler)
    return made


def is_allowed(address: str) -> bool:
    """Whether this IP address may be requested."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and (inner := _ipv4_within(parsed)) is not None:
        parsed = inner
    is_allocated = isinstance(parsed, IPv4Address) or parsed in _GLOBAL_IPV6
    if is_allocated and parsed.is_global and not parsed.is_multicast:
        return True
    return any(parsed in ip_network(network) for network in settings.PING_NETWORKS)


def _ipv4_within(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a packet to this one is delivered to: mapped, by 6to4, or by NAT64."""
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour


class _Connection(HTTPConnection):
    def connect(self) -> None:
        self.sock = _connected(self.host, self.port, self.timeout)


class _TlsConnection(HTTPSConnection):
    def connect(self) -> None:
        connected = _connected(self.host, self.port, self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(connected, server_hostname=self.host)


class _ProxyHandler(urllib.request.ProxyHandler):
    """Knows for which HTTPS requests it has set a proxy; for HTTP ones, they know it themselves."""

    def __init__(self) -> None:
        super().__init__()
        self._tunnelled: list[urllib.request.Request] = []

    def proxy_open(self, req: urllib.request.Request, *args: Any) -> Any:
        host = req.host
        answer = super().proxy_open(req, *args)
        if req.host != host:
            self._tunnelled.append(req)
        return answer

    def is_used_for(self, request: urllib.request.Request) -> bool:
        return request.has_proxy() or any(request is each for each in self._tunnelled)


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, proxies: _ProxyHandler) -> None:
        super().__init__()
        self._proxies = proxies

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(HTTPConnection if self._proxies.is_used_for(req) else _Connection, req)

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        return super().http_request(_checked(request))


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, proxies: _ProxyHandler) -> None:
        super().__init__()
        self._proxies = proxies

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(HTTPSConnection if self._proxies.is_used_for(req) else _TlsConnection, req)

    def https_request(self, request: urllib.request.Request) -> urllib.request.Request:
        return super().https_request(_checked(request))


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except HTTPError:
            raise
        except OSError as error:
            raise RedirectError(f"After a redirect: {error}") from error

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _checked(request: urllib.request.Request) -> urllib.request.Request:
    """The request, also of a redirect, if a proxy cannot read its host differently. Raises OSError."""
    if not is_address(request.full_url):
        raise ForbiddenAddressError
    return request


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
