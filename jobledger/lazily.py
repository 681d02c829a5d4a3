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

    call.__name__ = call.__qualname__ = path.rpartition(".")[2]
    return call
