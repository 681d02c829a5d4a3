"""HTML is the same as that of Django's functions, whose work this does in less time."""

from typing import Any

import pytest
from django.utils.functional import lazystr
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from jobledger.admin.markup import escaped, filled, filled_with_each
from jobledger.models import Status


class Drawn:
    """An object that is HTML of its own, as those of other libraries are."""

    def __html__(self) -> str:
        return "<i>"


class Named:
    """An object whose name is safe, but which is not itself."""

    def __str__(self) -> str:
        return SafeString("<i>")


VALUES = (
    *("", "plain", "<b>&'\"</b>", "{}", mark_safe("<b>"), SafeString("&amp;")),
    *(None, True, 7, 0.5, Status.FAILED, Status("<new>"), Drawn(), Named()),
    *(gettext_lazy("Yes"), lazystr("<b>"), lazystr(mark_safe("<b>"))),
)


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_escaped_as_django_escapes_it(value: Any) -> None:
    assert escaped(value) == conditional_escape(value)
    assert filled("<p>{0} {0}</p>{{}}", value) == format_html("<p>{0} {0}</p>{{}}", value)


@given(st.lists(st.text()))
def test_many_values_are_joined_as_django_joins_them(texts: list[str]) -> None:
    made = filled_with_each("<p>{}</p>", texts)
    assert made == format_html_join("", "<p>{}</p>", ((text,) for text in texts))
    assert isinstance(made, SafeString)


@given(st.text(), st.text())
def test_what_is_filled_in_is_not_escaped_again(one: str, two: str) -> None:
    inner = filled("<b>{}</b>", one)
    assert isinstance(inner, SafeString)
    assert filled("{}{}", inner, two) == format_html("{}{}", inner, two)
