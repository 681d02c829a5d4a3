"""A form for a job's options, generated from its argparse parser.

Converts a JSON object to form fields and back. An unchanged field keeps its stored value; an empty field
omits its option, so the default applies and is not stored. A stored secret is never sent to the browser, and
is kept unless a new one is entered or its removal is requested. Options that the parser hides keep their
values; options that the parser does not know are listed in ``unknown_options`` and dropped.

The parser validates the input. Its errors are shown next to the fields they refer to.
"""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.forms.boundfield import BoundField

from jobledger.admin.options.fields import SecretField, UnsuitableValueError
from jobledger.admin.options.job_options import Layout, OptionRow, OptionSection
from jobledger.admin.options.suitable_fields import field_for
from jobledger.admin.options.widgets import SecretText
from jobledger.jobs import json_text, secrets
from jobledger.jobs.options import (
    OptionsError,
    command_line,
    option_names,
    options_for_worker,
    validate_options,
)
from jobledger.jobs.options.argparse_internals import ExclusiveGroup
from jobledger.jobs.options.errors import Problem
from jobledger.jobs.options.parser import Option
from jobledger.jobs.registry import Job

_REENTER = "Enter {dest} again or remove it. Stored secrets cannot be reused when other options have changed."


@dataclass(frozen=True, kw_only=True)
class FieldRow:
    """Fields that are shown together, with the errors that apply to all of them."""

    fields: list[BoundField]
    legend: str
    errors: list[str]
    id: str
    """The HTML id of the row."""


@dataclass(frozen=True, kw_only=True)
class FieldGroup:
    """Rows under a common heading."""

    title: str
    description: str
    subcommand: str
    """The dotted path of the subcommand that these options belong to, if any."""
    rows: list[FieldRow]


def left_to_worker(parser: ArgumentParser, options: Mapping[str, Any]) -> list[str]:
    """A sentence for each of these valid options that could not be validated in this process."""
    return [
        f"{dest} could not be validated here: {why}. A worker will validate it when the job runs."
        for dest, why in options_for_worker(parser, options).items()
    ]


class OptionsForm(forms.Form):
    """Options of a job, with their stored values; ``data`` is the submitted data, if any."""

    template_name = "jobledger/options/form.html"

    def __init__(
        self,
        job: Job,
        stored_options: Mapping[str, Any],
        data: Mapping[str, Any] | None = None,
        prefix: str = "option",
        *,
        keeps_secrets_in_place: bool = False,
    ) -> None:
        """``prefix`` is prepended to the names and ids of all fields.

        With ``keeps_secrets_in_place``, a stored secret is kept only if all text options are unchanged, since
        any of them may determine where the secret is sent.
        """
        super().__init__(cast("Any", data), prefix=prefix, label_suffix="", use_required_attribute=False)
        self.job = job
        self.broken = ""
        """Why the job's options are not known, if its parser cannot be created."""
        self.parser: ArgumentParser
        try:
            self.parser = job.create_validating_parser()
        except OptionsError as error:
            self.parser, self.broken = ArgumentParser(add_help=False), f"The job {error}"
        self.layout = Layout(self.parser)
        self._stored = dict(stored_options)
        self._keeps_secrets_in_place = keeps_secrets_in_place
        self._fields = {
            name: field_for(job_option, is_secret=secrets.is_secret(job, job_option.option))
            for name, job_option in self.layout.options.items()
        }
        self.fields.update(self._fields)
        self.unsuitable_values: dict[str, str] = {}
        """Maps field names to the reasons why their stored values cannot be shown."""
        self._formatted = self._format_stored()
        self.initial = dict(self._formatted)
        self._options: dict[str, Any] = self._hidden() | {
            dest: value for dest, value in self._stored.items() if self.layout.find(dest, self._stored)
        }

    @property
    def options(self) -> dict[str, Any]:
        """The JSON object that was entered, whether or not it is valid."""
        self.is_valid()  # runs the parser at most once
        return self._options

    @property
    def media(self) -> forms.Media:
        """The form works without its script."""
        return forms.Media(css={"all": ["jobledger/options/form.css"]}, js=["jobledger/options/form.js"])

    @property
    def unknown_options(self) -> list[str]:
        """Stored options that the job no longer has, or that do not apply to its subcommand."""
        if self.broken:
            return []
        hidden = self._hidden()
        return [
            dest for dest in self._stored if dest not in hidden and not self.layout.find(dest, self._stored)
        ]

    @property
    def groups(self) -> list[FieldGroup]:
        """The fields, grouped as in the parser."""
        return [self._group(section) for section in self.layout.sections]

    @property
    def command_line(self) -> str:
        """The equivalent command line, unvalidated and with secrets masked; empty if there is none."""
        options = self._entered() if self.is_bound else dict(self._options)
        for name, field in self._fields.items():
            if isinstance(field, SecretField) and self._is_stored_elsewhere(name, field, options):
                options.setdefault(field.option.dest, field.masked_value)
        try:
            return command_line.command_line(self.job, options)
        except OptionsError:
            return ""

    def clean(self) -> dict[str, Any]:
        """Assemble the options and validate them with the parser. Without one, nothing is valid."""
        if self.broken:
            self._options = dict(self._stored)
            raise forms.ValidationError(self.broken)
        self._options = self._entered()
        if not self._find_problems() and not self.errors:
            self._store_numbers()
        if self._keeps_secrets_in_place and self._changes_text_option():
            self._reject_kept_secrets()
        self._ask_for_secrets_again()
        return self.cleaned_data

    # Values

    def _format_stored(self) -> dict[str, Any]:
        formatted: dict[str, Any] = {}
        for dest, value in self._stored.items():
            job_option = self.layout.find(dest, self._stored)
            if job_option is None or value is None:
                continue
            name = job_option.name
            try:
                formatted[name] = self._fields[name].format_value(value)
            except UnsuitableValueError as error:
                self.unsuitable_values[name] = self._without_secrets(self._stored, str(error))
        return formatted

    def _hidden(self) -> dict[str, Any]:
        """Stored options that the parser has but hides from its help."""
        known = option_names(self.parser)
        visible = {job_option.option.dest for job_option in self.layout.options.values()}
        return {dest: value for dest, value in self._stored.items() if dest in known and dest not in visible}

    def _entered(self) -> dict[str, Any]:
        """The values of the command, overridden by those of the selected subcommands."""
        values = {name: self._value_of(name) for name in self._fields}
        options: dict[str, Any] = {}
        subcommands: tuple[str, ...] = ()
        while True:
            for name, job_option in self.layout.options.items():
                if job_option.subcommands == subcommands and values[name] is not None:
                    options[job_option.option.dest] = values[name]
            chosen = self.layout.chosen_subcommands(options)
            if len(chosen) <= len(subcommands):
                return self._hidden() | options
            subcommands = chosen[: len(subcommands) + 1]

    def _value_of(self, name: str) -> Any:
        """The entered value, or the stored value if the field is unchanged."""
        field = self._fields[name]
        try:
            value = field.parse_input(self[name].data)
        except forms.ValidationError:
            # The error is shown next to the field.
            return None
        dest = field.option.dest
        job_option = self.layout.find(dest, self._stored)
        if dest not in self._stored or job_option is None or job_option.name != name:
            return value
        if name in self.unsuitable_values:
            return value
        if isinstance(field, SecretField):
            is_kept = value is None and not self._posted_secret(name).is_cleared
            return self._stored[dest] if is_kept else value
        before = field.parse_input(self._formatted[name]) if name in self._formatted else None
        return self._stored[dest] if value == before else value

    def _store_numbers(self) -> None:
        """Store text as a number if the parser's custom ``type`` converted it to one."""
        parsed = vars(validate_options(self.parser, self._options))
        for dest, value in self._options.items():
            if value != self._stored.get(dest) and dest in parsed:
                self._options[dest] = _as_number(value, parsed[dest])

    # Errors

    def _find_problems(self) -> bool:
        """Run the parser until it accepts the remaining options: it reports one error at a time."""
        remaining = {dest: value for dest, value in self._options.items() if value is not None}
        rejected: set[str | None] = set()
        while problems := self._problems_with(remaining):
            for problem in problems:
                if problem.dest not in rejected:
                    self._add_problem(problem)
            blamed = {problem.dest for problem in problems if problem.dest in remaining}
            if not blamed:
                return True
            rejected |= blamed
            remaining = {dest: value for dest, value in remaining.items() if dest not in blamed}
        return bool(rejected)

    def _problems_with(self, options: Mapping[str, Any]) -> Sequence[Problem]:
        try:
            validate_options(self.parser, options)
        except OptionsError as error:
            return error.problems
        return ()

    def _add_problem(self, problem: Problem) -> None:
        text = self._without_secrets(self._options, problem.text) or "This value is not valid."
        if problem.group is not None and (row_id := self._row_id(problem.group)):
            self.errors.setdefault(row_id, self.error_class(renderer=self.renderer)).append(text)
            return
        job_option = self.layout.find(problem.dest, self._options) if problem.dest else None
        self.add_error(job_option.name if job_option else None, text)

    # Secrets

    def _without_secrets(self, options: Mapping[str, Any], text: str) -> str:
        return secrets.without_secrets(self.job.name, options, text)

    def _changes_text_option(self) -> bool:
        """Whether any free-text option differs from its stored value."""
        return any(
            _takes_free_text(job_option.option) and self._options.get(dest) != self._stored.get(dest)
            for name, job_option in self.layout.options.items()
            if not isinstance(self._fields[name], SecretField)
            for dest in [job_option.option.dest]
        )

    def _reject_kept_secrets(self) -> None:
        masked = secrets.masked(self.job.name, self._stored)
        kept = [
            dest
            for dest, value in self._options.items()
            if value == self._stored.get(dest) and value != masked.get(dest, value)
        ]
        for dest in kept:
            job_option = self.layout.find(dest, self._options)
            name = job_option.name if job_option else None
            is_secret = name is not None and isinstance(self._fields[name], SecretField)
            if not (name and is_secret and self._posted_secret(name).text):
                self.add_error(name, _REENTER.format(dest=dest))

    def _ask_for_secrets_again(self) -> None:
        if not self.errors:
            return
        for name, field in self._fields.items():
            if isinstance(field, SecretField) and self._posted_secret(name).text:
                self.add_error(name, "Enter it again: secrets are never sent back to the browser.")

    def _posted_secret(self, name: str) -> SecretText:
        return cast("SecretText", self[name].data)

    def _is_stored_elsewhere(self, name: str, field: SecretField, options: Mapping[str, Any]) -> bool:
        """Whether the secret is stored, but was not passed to this form (as for a preview)."""
        if not self.is_bound:
            return False
        posted = self._posted_secret(name)
        active = self.layout.find(field.option.dest, options)
        is_active = active is not None and active.name == name
        return is_active and posted.is_stored and not posted.is_cleared

    # Layout

    def _group(self, section: OptionSection) -> FieldGroup:
        return FieldGroup(
            title=section.title,
            description=section.description,
            subcommand=".".join(section.subcommands),
            rows=[self._row(row) for row in section.rows],
        )

    def _row(self, row: OptionRow) -> FieldRow:
        fields = [self[job_option.name] for job_option in row.options]
        if row.exclusive is None:
            return FieldRow(fields=fields, legend="", errors=[], id="")
        row_id = self._row_id(row.exclusive)
        return FieldRow(
            fields=fields,
            legend="Exactly one of these" if row.exclusive.is_required else "At most one of these",
            errors=[str(error) for error in self.errors.get(row_id, ())],
            id=row_id,
        )

    def _row_id(self, group: ExclusiveGroup) -> str:
        number = next((at for at, row in enumerate(self.layout.rows) if row.exclusive == group), None)
        return "" if number is None else f"{self.prefix}-row-{number}"


def _takes_free_text(option: Option) -> bool:
    taker = option.taker
    return taker is not None and taker.choices is None and taker.type not in (bool, int, float)


def _as_number(value: Any, parsed: Any) -> Any:
    if isinstance(value, list) and isinstance(parsed, list) and len(value) == len(parsed):
        return [_as_number(item, number) for item, number in zip(value, parsed, strict=True)]
    is_number = type(parsed) in (int, float) and json_text.is_finite(parsed)
    return parsed if is_number and isinstance(value, str) and str(parsed) == value else value
