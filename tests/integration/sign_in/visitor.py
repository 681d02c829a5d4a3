"""A client like a browser: it keeps cookies and follows redirects."""

import urllib.error
import urllib.request
from dataclasses import dataclass, field
from html import unescape
from http.cookiejar import CookieJar
from urllib.parse import urlencode


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The page after all redirects."""

    status: int
    url: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Opens the pages of a site."""

    site: str
    cookies: CookieJar = field(default_factory=CookieJar)

    def get(self, address: str) -> Answer:
        """Open a page; an address without a host is relative to the site."""
        return self._open(urllib.request.Request(self._whole(address)))

    def post(self, address: str, **form: str) -> Answer:
        """Send a form."""
        return self._open(urllib.request.Request(self._whole(address), urlencode(form).encode()))

    def sign_in(self, subject: str, *, to: str = "/admin/") -> Answer:
        """Sign in by single sign-on as this user of the provider."""
        page = self.get(f"/oidc/login/?{urlencode({'next': to})}")
        return self.post(page.url, sub=subject)

    def log_in(self, username: str, password: str) -> Answer:
        """Log in with a password."""
        self.get("/admin/login/")
        token = next(cookie.value for cookie in self.cookies if cookie.name == "csrftoken")
        form = {"username": username, "password": password, "csrfmiddlewaretoken": token or ""}
        return self.post("/admin/login/?next=/admin/", **form)

    def _whole(self, address: str) -> str:
        return address if "://" in address else f"{self.site}{address}"

    def _open(self, request: urllib.request.Request) -> Answer:
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        try:
            with opener.open(request, timeout=30) as page:
                return Answer(status=page.status, url=page.url, text=unescape(page.read().decode()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(status=error.code, url=error.url or "", text=unescape(error.read().decode()))
