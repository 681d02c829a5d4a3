"""A browser that fills in the form of a job's options, and posts what it is shown."""

from collections.abc import Mapping
from typing import Any

from django.http import QueryDict

from jobledger.admin.options.form import OptionsForm
from jobledger.admin.options.widgets import OptionalText
from jobledger.jobs.registry import Job


def posted(form: OptionsForm, **changes: Any) -> QueryDict:
    """What a browser posts of the form, after these changes to what its fields show, by option name."""
    data = QueryDict(mutable=True)
    for name in form.fields:
        shown = changes.get(name, form.initial.get(name))
        _post(data, form.add_prefix(name), shown)
    return data


def _post(data: QueryDict, name: str, shown: Any) -> None:
    match shown:
        case OptionalText():
            _post(data, name, shown.text)
            _post(data, f"{name}-bare", shown.is_bare)
        case list():
            data.setlist(name, shown)
        case True:
            data[name] = "on"
        case False | None:
            pass
        case _:
            # As browsers do with the ends of lines.
            data[name] = str(shown).replace("\n", "\r\n")


def filled(job: Job, options: Mapping[str, Any], **changes: Any) -> OptionsForm:
    """The job's form for stored options, posted after these changes."""
    return OptionsForm(job, options, posted(OptionsForm(job, options), **changes))
