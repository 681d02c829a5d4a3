"""The registry of Django's admin site, for which there is no public name.

Everything that depends on which pages a site has reads it: here pages can be added at the last moment.
"""

from collections.abc import Callable
from threading import RLock
from typing import Any

from django.contrib.admin import AdminSite, ModelAdmin
from django.db.models import Model


class LateAdminSite(AdminSite):
    """With ``discover_later``, processes that show no page do not import the pages of all apps."""

    _discover: Callable[[], None] | None = None
    _is_discovering = False

    def __init__(self, name: str = "admin") -> None:
        self._discovering = RLock()
        super().__init__(name)

    def discover_later(self, discover: Callable[[], None]) -> None:
        """Call this before anybody uses or adds a page."""
        self._discover = discover

    def discover_now(self) -> None:
        """Do what has been put off. If that raises an error, it will be repeated."""
        with self._discovering:
            if self._discover is None or self._is_discovering:  # by this thread: it adds the pages
                return
            self._is_discovering = True
            try:
                self._discover()
                self._discover = None
            finally:
                self._is_discovering = False

    @property
    def _registry(self) -> dict[type[Model], "ModelAdmin[Any]"]:
        if self._discover is not None:
            self.discover_now()
        return self._registered

    @_registry.setter
    def _registry(self, registered: dict[type[Model], "ModelAdmin[Any]"]) -> None:
        self._registered = registered
