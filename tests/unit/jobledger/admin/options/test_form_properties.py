"""Round trips between stored options and form data, for arbitrary parsers."""

from hypothesis import given, settings

from jobledger.admin.options.form import OptionsForm
from jobledger.jobs import options
from jobledger.jobs.registry import Job
from tests.unit.jobledger.admin.options.browser import submitted_data, submitted_form
from tests.unit.jobledger.jobs.builders import a_job
from tests.unit.jobledger.jobs.options.test_options_properties import Said, all_said, options_of, parser_of

SETTINGS = settings(max_examples=60)


def job_of(everything: list[Said]) -> Job:
    return a_job(*(argument for each in everything for argument in each.arguments))


@SETTINGS
@given(all_said())
def test_submitting_an_unchanged_form_changes_nothing(everything: list[Said]) -> None:
    form = submitted_form(job_of(everything), options_of(everything))
    assert form.is_valid(), form.errors
    assert form.options == options_of(everything)


@SETTINGS
@given(all_said())
def test_form_data_contains_everything_that_was_stored(everything: list[Said]) -> None:
    """The form has no stored options to fall back on."""
    job = job_of(everything)
    data = submitted_data(OptionsForm(job, options_of(everything)))
    form = OptionsForm(job, {}, data)
    assert form.is_valid(), form.errors
    options_entered = options.validate_options(parser_of(everything), form.options)
    assert options_entered == options.validate_options(parser_of(everything), options_of(everything))
