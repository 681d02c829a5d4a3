"""Fills in and submits the form for a job's options, as a browser would."""

from collections.abc import Mapping
from typing import Any

from django.http import QueryDict

from jobledger.admin.options.form import OptionsForm
from jobledger.admin.options.widgets import OptionalText
from jobledger.jobs.registry import Job


def submitted_data(form: OptionsForm, **changes: Any) -> QueryDict:
    """The data that a browser submits for the form after these changes, by option name."""
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
            # Browsers normalize line endings.
            data[name] = str(shown).replace("\n", "\r\n")


def submitted_form(job: Job, options: Mapping[str, Any], **changes: Any) -> OptionsForm:
    """The job's form for these stored options, submitted with these changes."""
    return OptionsForm(job, options, submitted_data(OptionsForm(job, options), **changes))
