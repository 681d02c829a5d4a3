"""gunicorn's logs, of the server and of requests, in the service's format.

gunicorn documents that the class of its logger may be replaced. Its main process, which logs as well, never
loads Django's settings: workers that it starts later are to read them again. So the format is read from the
environment here.
"""

import os
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from django.urls import Resolver404, resolve
from environ.fileaware_mapping import FileAwareMapping
from gunicorn.glogging import Logger as GunicornLogger

from jobledger.jobs.secrets import MASK, looks_secret
from jobledger.logs.formatters import TextFormatter, formatter
from proj.environment import Environment
from proj.log_filters import without_secret_addresses
from proj.state import BASE_DIR

PROBES = ("/livez", "/healthz", "/readyz", "/metrics")
"""Requests for them are not logged unless they fail: there are several in a minute."""


class Logger(GunicornLogger):  # type: ignore[misc]  # gunicorn has no types
    """To be used as ``--logger-class``."""

    def setup(self, cfg: Any) -> None:
        """Called at the start, and when gunicorn reloads its configuration.

        Handlers of others, as of ``--log-config``, keep their formatters.
        """
        handlers_of_others = {*self.error_log.handlers, *self.access_log.handlers}
        super().setup(cfg)
        self._is_json = False
        if cfg.logconfig or cfg.logconfig_dict or cfg.logconfig_json:
            return
        of_server = formatter(_log_format(), service="web")
        self._is_json = not isinstance(of_server, TextFormatter)
        of_requests = of_server if self._is_json else TextFormatter("%(message)s")
        for log, own in (self.error_log, of_server), (self.access_log, of_requests):
            for handler in log.handlers:
                if handler not in handlers_of_others:
                    handler.setFormatter(own)

    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> dict[str, Any]:
        """What the line of a request can name, without the secrets in addresses."""
        found: dict[str, Any] = super().atoms(resp, req, environ, request_time)
        secrets = _secrets_in(environ.get("PATH_INFO", "")) + _secrets_in(urlsplit(found["f"]).path)
        for name in "r", "U", "f":
            for secret in secrets:
                found[name] = found[name].replace(secret, MASK)
            # The endpoints of the API have one pattern, which names none of their parts.
            found[name] = without_secret_addresses(found[name])
        return found

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Log a request."""
        atoms = self.atoms(resp, req, environ, request_time)
        if environ.get("PATH_INFO") in PROBES and int(atoms["s"]) < HTTPStatus.BAD_REQUEST:
            return
        if not self._is_json:
            super().access(resp, req, environ, request_time)
        elif self.access_log_enabled:
            facts = {"method": atoms["m"], "path": atoms["U"], "status": int(atoms["s"])}
            more = {"query": atoms["q"], "client": atoms["h"], "bytes": atoms["B"], "user_agent": atoms["a"]}
            duration = {"duration_seconds": round(request_time.total_seconds(), 6)}
            self.access_log.info("%s", atoms["r"], extra={**facts, **duration, **more})


def _log_format() -> str:
    class Current(Environment):
        # A copy: what .env says now must not stay in the environment of workers that start later.
        ENVIRON = FileAwareMapping(env=dict(os.environ))

    Current.read_env(BASE_DIR / ".env")
    return Current().log_format("LOG_FORMAT")


def _secrets_in(path: str) -> list[str]:
    """The parts of an address that its pattern calls a token, for example."""
    with suppress(Resolver404):
        named = resolve(path).kwargs
        return [str(value) for name, value in named.items() if looks_secret(name) and len(str(value)) > 1]
    return []
