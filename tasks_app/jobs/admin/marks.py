"""How a state looks: a shape, its word, and a hue that only helps."""

from django.templatetags.static import static
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.jobs.models import Status


def mark(shape: str, word: str | Promise) -> SafeString:
    """The shape of this name in ``marks.svg``, and the word beside it."""
    return format_html('<span class="mark mark-{}">{}{}</span>', shape, _picture(shape), word)


def of_status(status: str) -> SafeString:
    """A run's state."""
    return mark(status, Status(status).label)


def _picture(shape: str) -> SafeString:
    # One file for all shapes, which the browser keeps.
    address = f"{static('jobs/marks.svg')}#{shape}"
    return format_html('<svg viewBox="0 0 16 16" aria-hidden="true"><use href="{}"></use></svg>', address)
