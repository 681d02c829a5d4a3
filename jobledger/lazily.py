"""Functions that are imported when they are called, since most processes call few of them."""

from collections.abc import Callable
from typing import Any

from django.utils.module_loading import import_string


def lazily(path: str) -> Callable[..., Any]:
    """What stands for the function with this dotted path until it is called. Calling it raises ImportError
    if there is none.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return import_string(path)(*args, **kwargs)

    call.__module__, _, call.__name__ = path.rpartition(".")
    call.__qualname__ = call.__name__
    return call
