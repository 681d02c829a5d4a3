"""A job's options as a form made from its own argparse parser.

Owns the way from a JSON object to fields and back. A field that is left as it was keeps what is stored; an
empty one leaves its option out, so that the default applies and is not stored. A stored secret is never
sent to the browser, and is kept unless another is typed or its removal is ticked. What the parser hides
keeps its value; what it does not know is named in ``strangers`` and is not kept.

The parser judges. Its messages stand beside the fields that they are about.
"""

from argparse import OPTIONAL, ZERO_OR_MORE
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, cast

from django import forms
from django.forms.boundfield import BoundField

from jobledger.admin.options.choices import (
    ChoiceField,
    ChoicesField,
    CommandField,
    FlagField,
    SwitchField,
    choice_texts,
    distinct_flags,
)
from jobledger.admin.options.fields import (
    CountField,
    GroupsField,
    JsonField,
    LinesField,
    NotShownError,
    OptionalField,
    OptionField,
    SecretField,
    TextField,
    may_be_bare,
)
from jobledger.admin.options.layout import Layout, Place, PlaceRow, Section, takes_list
from jobledger.admin.options.widgets import Secret
from jobledger.jobs import secrets
from jobledger.jobs.options import OptionsError, command_line, option_names, validate_options
from jobledger.jobs.options.argparse_internals import ExclusiveGroup, Kind, extends
from jobledger.jobs.options.errors import Problem
from jobledger.jobs.registry import Job


def field_for(place: Place, *, is_secret: bool) -> OptionField:
    """The field that fits the option best."""
    if is_secret:
        return SecretField(place)
    match place.option.kind:
        case Kind.SUBCOMMAND:
            return CommandField(place)
        case Kind.COUNT:
            return CountField(place)
        case Kind.LIST:
            return _list_field(place)
        case _:
            return _value_field(place) if place.option.taker else _flag_field(place)


def _flag_field(place: Place) -> OptionField:
    return SwitchField(place) if len(distinct_flags(place.option)) > 1 else FlagField(place)


def _value_field(place: Place) -> OptionField:
    taker = place.action
    if place.option.flags:
        return JsonField(place)
    if takes_list(taker):
        return _many_field(place)
    if choice_texts(place):
        return ChoiceField(place)
    return OptionalField(place) if may_be_bare(taker) else TextField(place)


def _many_field(place: Place) -> OptionField:
    if place.action.nargs in ("*", "+") and choice_texts(place):
        return ChoicesField(place)
    # Given without values a list is empty, which need not be what leaving it out means.
    may_be_bare = place.action.nargs == ZERO_OR_MORE and place.action.option_strings
    return OptionalField(place) if may_be_bare else LinesField(place)


def _list_field(place: Place) -> OptionField:
    taker = place.option.taker
    if taker is None:
        return ChoicesField(place)
    if place.option.flags or taker.nargs == OPTIONAL:
        return JsonField(place)
    if takes_list(taker) and not extends(taker):
        return GroupsField(place)
    return ChoicesField(place) if choice_texts(place) else LinesField(place)


@dataclass(frozen=True, kw_only=True)
class Row:
    """Fields that stand together, and what is wrong with all of them."""

    fields: list[BoundField]
    legend: str
    errors: list[str]
    id: str
    """What the legend and the errors are found by."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows under one heading."""

    title: str
    description: str
    command: str
    """The sub-command that its options belong to, as the data of a page have it; empty: none."""
    rows: list[Row]


class OptionsForm(forms.Form):
    """Made from a job and its stored options; ``data`` is what was posted, if it was."""

    template_name = "jobledger/options/form.html"

    def __init__(
        self,
        job: Job,
        initial_options: Mapping[str, Any],
        data: Mapping[str, Any] | None = None,
        prefix: str = "option",
    ) -> None:
        """``prefix`` begins the names and ids of all its fields."""
        super().__init__(cast("Any", data), prefix=prefix, label_suffix="", use_required_attribute=False)
        self.job = job
        self.parser = job.create_parser()
        self.layout = Layout(self.parser)
        self._stored = dict(initial_options)
        self._fields = {
            name: field_for(place, is_secret=secrets.is_secret(job, place.option))
            for name, place in self.layout.places.items()
        }
        self.fields.update(self._fields)
        self._shown: dict[str, Any] = {}
        self.unshown: dict[str, str] = {}
        """Stored values that their fields cannot show, in JSON, by the fields' names."""
        self._show_stored()
        self._options: dict[str, Any] = self._kept() | {
            dest: value for dest, value in self._stored.items() if self.layout.place_of(dest, self._stored)
        }

    @property
    def options(self) -> dict[str, Any]:
        """The JSON object that the form says, also while it is not valid."""
        self.is_valid()  # the parser is asked once only
        return self._options

    @property
    def media(self) -> forms.Media:
        """The form's style and script; it works without the script."""
        return forms.Media(css={"all": ["jobledger/options.css"]}, js=["jobledger/options.js"])

    @property
    def strangers(self) -> list[str]:
        """Stored options that the job does not have any more, or not beside its sub-command."""
        kept = self._kept()
        return [
            dest for dest in self._stored if dest not in kept and not self.layout.place_of(dest, self._stored)
        ]

    @property
    def groups(self) -> list[Group]:
        """The fields as the parser groups them."""
        return [self._group(section) for section in self.layout.sections]

    @property
    def command_line(self) -> str:
        """The line that says the same, secrets masked, unjudged; empty where no line does."""
        shown = self._said() if self.is_bound else dict(self._options)
        for name, field in self._fields.items():
            if isinstance(field, SecretField) and self._is_secret_elsewhere(name, field, shown):
                shown.setdefault(field.option.dest, field.masked)
        try:
            return command_line.command_line(self.job, shown)
        except OptionsError:
            return ""

    def clean(self) -> dict[str, Any]:
        """Put the options together and let the parser judge them."""
        self._options = self._said()
        if not self._judge() and not self.errors:
            self._write_numbers()
        self._ask_again_for_secrets()
        return self.cleaned_data

    def _show_stored(self) -> None:
        for dest, value in self._stored.items():
            place = self.layout.place_of(dest, self._stored)
            if place is None or value is None:
                continue
            try:
                self._shown[place.name] = self._fields[place.name].show(value)
            except NotShownError as error:
                self.unshown[place.name] = str(error)
        self.initial = dict(self._shown)

    def _kept(self) -> dict[str, Any]:
        """Stored options that the parser knows but hides."""
        known = option_names(self.parser)
        shown = {place.option.dest for place in self.layout.places.values()}
        return {dest: value for dest, value in self._stored.items() if dest in known and dest not in shown}

    def _said(self) -> dict[str, Any]:
        """What all fields say together."""
        return self._kept() | self._put_together({name: self._told(name) for name in self._fields})

    def _told(self, name: str) -> Any:
        """What the field says; the stored value where it says nothing new."""
        field = self._fields[name]
        try:
            told = field.tell(self[name].data)
        except forms.ValidationError:
            # It stands beside the field.
            return None
        dest = field.option.dest
        place = self.layout.place_of(dest, self._stored)
        if dest not in self._stored or place is None or place.name != name or name in self.unshown:
            return told
        if isinstance(field, SecretField):
            is_kept = told is None and not self._posted_secret(name).is_cleared
            return self._stored[dest] if is_kept else told
        before = field.tell(self._shown[name]) if name in self._shown else None
        return self._stored[dest] if told == before else told

    def _put_together(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the chosen sub-commands' options beside, and over, those of the command itself."""
        found: dict[str, Any] = {}
        commands: tuple[str, ...] = ()
        while True:
            for name, value in told.items():
                place = self.layout.places[name]
                if place.commands == commands and value is not None:
                    found[place.option.dest] = value
            chosen = self.layout.commands_in(found)
            if chosen == commands or len(chosen) <= len(commands):
                return found
            commands = chosen[: len(commands) + 1]

    def _judge(self) -> bool:
        """Ask the parser again and again, each time without what it refused: it names one fault at a time."""
        left = {dest: value for dest, value in self._options.items() if value is not None}
        refused: set[str | None] = set()
        while problems := self._problems_with(left):
            for problem in problems:
                if problem.dest not in refused:
                    self._add_problem(problem)
            blamed = {problem.dest for problem in problems if problem.dest in left}
            if not blamed:
                return True
            refused |= blamed
            left = {dest: value for dest, value in left.items() if dest not in blamed}
        return bool(refused)

    def _problems_with(self, options: Mapping[str, Any]) -> Sequence[Problem]:
        try:
            validate_options(self.parser, options)
        except OptionsError as error:
            return error.problems
        return ()

    def _add_problem(self, problem: Problem) -> None:
        text = secrets.without_secrets(self.job.name, self._options, problem.text) or "not accepted"
        if problem.group is not None and (key := self._row_id(problem.group)):
            self.errors.setdefault(key, self.error_class(renderer=self.renderer)).append(text)
            return
        place = self.layout.place_of(problem.dest, self._options) if problem.dest else None
        self.add_error(place.name if place else None, text)

    def _write_numbers(self) -> None:
        """A number whose text a type of the command's own has read is stored as a number."""
        parsed = vars(validate_options(self.parser, self._options))
        for dest, value in self._options.items():
            if value != self._stored.get(dest) and dest in parsed:
                self._options[dest] = _numbered(value, parsed[dest])

    def _ask_again_for_secrets(self) -> None:
        if not self.errors:
            return
        for name, field in self._fields.items():
            if isinstance(field, SecretField) and self._posted_secret(name).text:
                self.add_error(name, "Type it again: what is secret is not sent back to the page.")

    def _posted_secret(self, name: str) -> Secret:
        return cast("Secret", self[name].data)

    def _is_secret_elsewhere(self, name: str, field: SecretField, said: Mapping[str, Any]) -> bool:
        """Whether a page shows this form for stored options that were not given to it."""
        if not self.is_bound:
            return False
        posted = self._posted_secret(name)
        in_force = self.layout.place_of(field.option.dest, said)
        is_in_force = in_force is not None and in_force.name == name
        return is_in_force and posted.is_stored and not posted.is_cleared

    def _group(self, section: Section) -> Group:
        return Group(
            title=section.title,
            description=section.description,
            command=".".join(section.commands),
            rows=[self._row(row) for row in section.rows],
        )

    def _row(self, row: PlaceRow) -> Row:
        fields = [self[place.name] for place in row.places]
        if row.exclusive is None:
            return Row(fields=fields, legend="", errors=[], id="")
        key = self._row_id(row.exclusive)
        legend = "Exactly one of these" if row.exclusive.is_required else "At most one of these"
        return Row(
            fields=fields, legend=legend, errors=[str(error) for error in self.errors.get(key, ())], id=key
        )

    def _row_id(self, group: ExclusiveGroup) -> str:
        rows = [row for section in self.layout.sections for row in section.rows]
        number = next((number for number, row in enumerate(rows) if row.exclusive == group), None)
        return "" if number is None else f"{self.prefix}-row-{number}"


def _numbered(value: Any, parsed: Any) -> Any:
    if isinstance(value, list) and isinstance(parsed, list) and len(value) == len(parsed):
        return [_numbered(each, made) for each, made in zip(value, parsed, strict=True)]
    is_number = type(parsed) in (int, float) and isfinite(parsed)
    return parsed if is_number and isinstance(value, str) and str(parsed) == value else value
