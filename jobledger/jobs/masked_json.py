"""JSON with masks in the place of secrets: what a page shows of it, and what comes back.

A mask that comes back where one was shown stands for the stored value; anywhere else it stands for nothing.
"""

import json
from typing import Any

from jobledger.jobs import json_text
from jobledger.jobs.secrets import MASK


class UnknownMaskError(ValueError):
    """A mask that stands for no stored value."""


def shown(value: Any) -> str:
    """As it is edited: a line for each member where there are several."""
    is_small = not isinstance(value, dict | list) or len(value) < 2
    return json.dumps(value, ensure_ascii=False, indent=None if is_small else 2)


def told(value: Any) -> str:
    """As it is read among others: a text as it stands."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def text_of(value: Any, present: str) -> str:
    """The value as it is stored; the present text, where it says the same."""
    try:
        is_same = bool(present) and json_text.read(present) == value
    except ValueError:
        is_same = False
    return present if is_same else json.dumps(value, ensure_ascii=False)


def unmasked(posted: Any, stored: Any, masked: Any) -> Any:
    """What was posted, with the stored values for its masks. ``masked`` is what was shown of ``stored``."""
    match posted:
        case dict():
            known, hidden = _dicts(stored, masked)
            return {name: unmasked(each, known.get(name), hidden.get(name)) for name, each in posted.items()}
        case list():
            known, hidden = _lists(stored, masked)
            return [unmasked(each, known.get(place), hidden.get(place)) for place, each in enumerate(posted)]
    if posted != MASK:
        return posted
    if masked != MASK:
        raise UnknownMaskError(f"{MASK} stands for a stored secret, and there is none in this place")
    return stored


def _dicts(stored: Any, masked: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    are_both = isinstance(stored, dict) and isinstance(masked, dict)
    return (stored, masked) if are_both else ({}, {})


def _lists(stored: Any, masked: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    are_both = isinstance(stored, list) and isinstance(masked, list)
    return (dict(enumerate(stored)), dict(enumerate(masked))) if are_both else ({}, {})
