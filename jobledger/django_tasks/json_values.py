"""Arguments and return values as what is stored of them."""

import json
from typing import Any

from jobledger.jobs.functions import framework_name
from jobledger.jobs.json_text import storable
from jobledger.jobs.options import OptionsError, check_bounds


def as_json(value: Any, what: str) -> Any:
    """The value as it comes out of the ledger again, such as lists for tuples.

    Raises TypeError or ValueError if that would be something else, or if it is too large; ``what`` names it.
    """
    try:
        stored = json.loads(json.dumps(_normalized(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what} cannot be stored as JSON: {error}") from None
    except RecursionError:
        raise ValueError(
            f"{what} cannot be stored as JSON: it is nested too deep, or contains itself"
        ) from None
    if storable(stored) != stored:
        raise ValueError(f"{what} cannot be stored: it contains a NUL or half of a character")
    try:
        check_bounds(stored, what)
    except OptionsError as error:
        raise ValueError(str(error)) from None
    return stored


def _normalized(value: Any) -> Any:
    if framework_name() == "django_tasks":
        from importlib import import_module

        return import_module("django_tasks.utils").normalize_json(value)
    from django.utils.json import normalize_json

    return normalize_json(value)
