"""Whatever a parser looks like: what is stored is shown, and what is shown is stored."""

from hypothesis import given, settings

from jobledger.admin.options.form import OptionsForm
from jobledger.jobs import options
from jobledger.jobs.registry import Job
from tests.unit.jobledger.admin.options.browser import filled, posted
from tests.unit.jobledger.jobs.builders import a_job
from tests.unit.jobledger.jobs.options.test_options_properties import Said, all_said, options_of, parser_of

SETTINGS = settings(max_examples=60)


def job_of(everything: list[Said]) -> Job:
    return a_job(*(argument for each in everything for argument in each.arguments))


@SETTINGS
@given(all_said())
def test_a_form_that_is_posted_as_it_was_shown_changes_nothing(everything: list[Said]) -> None:
    form = filled(job_of(everything), options_of(everything))
    assert form.is_valid(), form.errors
    assert form.options == options_of(everything)


@SETTINGS
@given(all_said())
def test_a_form_says_of_itself_all_that_was_stored(everything: list[Said]) -> None:
    """Without the stored options to fall back on."""
    job = job_of(everything)
    data = posted(OptionsForm(job, options_of(everything)))
    form = OptionsForm(job, {}, data)
    assert form.is_valid(), form.errors
    said = options.validate_options(parser_of(everything), form.options)
    assert said == options.validate_options(parser_of(everything), options_of(everything))
