"""Unclaimed runs are published again at growing intervals."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from jobledger.conf import settings
from jobledger.runs.publishing.intervals import MAX_INTERVAL, publish_interval


def test_a_new_run_is_published_again_after_the_settings_time() -> None:
    first = timedelta(seconds=settings.REPUBLISH_AFTER_SECONDS)
    assert (publish_interval(0), publish_interval(1)) == (first, first)


@given(st.integers(min_value=1, max_value=100_000))
def test_each_interval_is_twice_the_last_one_until_the_longest(publish_count: int) -> None:
    last, following = publish_interval(publish_count), publish_interval(publish_count + 1)
    assert following == min(2 * last, MAX_INTERVAL)
