"""The output on a run's page: as the page shows it first, and what a look at a live run adds to it.

A page that follows a run asks again and again, with the place up to which it has the output and the state
that it shows. The answer has what came since; when the run is over and everything was sent, it is the last.
"""

from functools import cached_property
from urllib.parse import urlencode

from django.http import QueryDict
from django.urls import reverse

from jobledger.admin.fields import number_in
from jobledger.admin.runs.output import reader
from jobledger.admin.runs.output.lines import Line, Place
from jobledger.admin.runs.output.reader import Found, News, Shown
from jobledger.admin.runs.page import RunPage
from jobledger.models import Run

LONGEST_SEARCH = 200


class OutputView:
    """One attempt's output: as it was written, or the lines with a text that somebody looks for."""

    def __init__(self, page: RunPage, query: QueryDict) -> None:
        """As the page's address asks for it."""
        self.run = page.run
        self.page = page
        wanted = number_in(query.get("attempt", ""))
        self.attempt = page.last_started_attempt if wanted is None else wanted
        self.searched = query.get("find", "")[:LONGEST_SEARCH]

    @property
    def is_last_attempt(self) -> bool:
        """Whether no later attempt has any output."""
        return self.attempt >= self.page.last_started_attempt

    @property
    def follows(self) -> bool:
        """Whether new output is added as it comes."""
        return not (self.page.is_final or self.searched) and self.is_last_attempt

    @cached_property
    def shown(self) -> Shown:
        """The output as it was written."""
        return reader.shown(self.run, self.attempt)

    @cached_property
    def found(self) -> Found:
        """The lines with the text."""
        return reader.found(self.run, self.attempt, self.searched)

    @property
    def live_address(self) -> str:
        """Where the page asks what is new; empty when nothing will be."""
        if self.page.is_final:
            return ""
        return live_address(self.page, self.shown.place if self.follows else None)

    @property
    def text_address(self) -> str:
        """The whole as a text."""
        return text_address(self.run, self.attempt)


class LiveView:
    """What is new since a page last asked."""

    def __init__(self, page: RunPage, query: QueryDict) -> None:
        """An address that makes no sense gets no output."""
        self._page = page
        self._place = Place.read(query.get("at", ""))
        self.has_changed = query.get("was") != page.state
        self.has_called = query.get("called", "") != page.called

    @cached_property
    def news(self) -> News | None:
        """The new output; None for a page that does not follow it."""
        return reader.news(self._page.run, self._place) if self._place else None

    @property
    def lines(self) -> list[Line]:
        """The complete lines among it."""
        return list(self.news.lines) if self.news else []

    @property
    def is_last(self) -> bool:
        """Whether the run is over and all of its output was sent."""
        return self._page.is_final and not (self.news and self.news.has_more)

    @property
    def is_first(self) -> bool:
        """Whether there is no output at all so far."""
        news = self.news
        return bool(news and not (news.lines or news.open_line or news.place.number or news.place.offset))

    @property
    def shows_open_line(self) -> bool:
        """Whether the end of the output is to be shown anew."""
        return bool(self.lines or (self.news and self.news.open_line) or self.is_last)

    @property
    def text_address(self) -> str:
        """The whole as a text."""
        return text_address(self._page.run, self._page.last_started_attempt)

    @property
    def address(self) -> str:
        """Where to ask next."""
        return live_address(self._page, self.news.place if self.news else None)


def text_address(run: Run, attempt: int) -> str:
    """What an attempt wrote, as a text to download."""
    return f"{reverse('admin:jobledger_run_output', args=[run.pk])}?attempt={attempt}"


def live_address(page: RunPage, place: Place | None) -> str:
    """Where a page that shows this, with the output up to this place, asks what is new."""
    asked = {"was": page.state, "called": page.called, "at": str(place) if place else ""}
    told = urlencode({name: value for name, value in asked.items() if value})
    return f"{reverse('admin:jobledger_run_live', args=[page.run.pk])}?{told}"
