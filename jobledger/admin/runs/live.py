"""The output on a run's page, and what the page polls for while the run goes on.

The page of a live run polls for a ``LiveUpdate``. The request has the position of the last output that the
page has received, and tokens for its other contents. An update always includes the times and the progress;
child runs are included only if ``children_token`` has changed, and everything else only if ``state_token``
has. The last update of a run that has ended stops the polling.
"""

from collections.abc import Sequence
from functools import cached_property
from urllib.parse import urlencode

from django.http import QueryDict

from jobledger.admin.fields import number_in
from jobledger.admin.runs.output import reader
from jobledger.admin.runs.output.lines import Line, ReadPosition
from jobledger.admin.runs.output.reader import InitialOutput, MatchingLines, NewOutput
from jobledger.admin.runs.page import RunPage
from jobledger.admin_site import page_url
from jobledger.models import Run

MAX_SEARCH_LENGTH = 200


class OutputView:
    """The output of an attempt: all of it, or the lines that match the search in the URL."""

    def __init__(self, page: RunPage, query: QueryDict) -> None:
        self.page = page
        requested = number_in(query.get("attempt", ""))
        self.attempt = page.last_started_attempt if requested is None else requested
        self.search = query.get("find", "")[:MAX_SEARCH_LENGTH]

    @property
    def is_last_attempt(self) -> bool:
        return self.attempt >= self.page.last_started_attempt

    @property
    def follows(self) -> bool:
        """Whether new output is appended as it is written."""
        return not (self.page.is_over or self.search) and self.is_last_attempt

    @cached_property
    def initial(self) -> InitialOutput:
        return reader.initial_output(self.page.run, self.attempt)

    @cached_property
    def matching(self) -> MatchingLines:
        return reader.matching_lines(self.page.run, self.attempt, self.search)

    @property
    def live_url(self) -> str:
        """The URL that the page polls; empty if the run is over."""
        if self.page.is_over:
            return ""
        return _live_url(self.page, self.initial.end if self.follows else None)

    @property
    def text_url(self) -> str:
        return _text_url(self.page.run, self.attempt)


class LiveUpdate:
    """Changes since a page last polled. An invalid position in the URL results in no output."""

    def __init__(self, page: RunPage, query: QueryDict) -> None:
        self._page = page
        self._position = ReadPosition.read(query.get("at", ""))
        self.has_new_state = query.get("state") != page.state_token
        self.has_new_children = query.get("children", "") != page.children_token

    @cached_property
    def output(self) -> NewOutput | None:
        """None if the page does not follow the output."""
        return reader.new_output(self._page.run, self._position) if self._position else None

    @property
    def lines(self) -> Sequence[Line]:
        return self.output.lines if self.output else []

    @property
    def is_last(self) -> bool:
        """Whether the run is over and all of its output has been sent."""
        return self._page.is_over and not (self.output and self.output.has_more)

    @property
    def is_empty(self) -> bool:
        """Whether there is no output yet."""
        output = self.output
        return bool(output and not (output.lines or output.open_line) and output.end.is_beginning)

    @property
    def shows_open_line(self) -> bool:
        """Whether to replace the open line at the end of the output."""
        return bool(self.lines or (self.output and self.output.open_line) or self.is_last)

    @property
    def text_url(self) -> str:
        return _text_url(self._page.run, self._page.last_started_attempt)

    @property
    def url(self) -> str:
        """The URL to poll next."""
        return _live_url(self._page, self.output.end if self.output else None)


def _text_url(run: Run, attempt: int) -> str:
    return f"{page_url('jobledger_run_output', run.pk)}?attempt={attempt}"


def _live_url(page: RunPage, position: ReadPosition | None) -> str:
    parameters = {"state": page.state_token, "children": page.children_token, "at": str(position or "")}
    query = urlencode({name: value for name, value in parameters.items() if value})
    return f"{page_url('jobledger_run_live', page.run.pk)}?{query}"
