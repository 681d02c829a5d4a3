"""A lease only runs while somebody could have heard of the run."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from jobledger.runs.lease.watch import Watch
from tests.unit.builders import NOON

LEASE = timedelta(seconds=60)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def looks(watch: Watch, seconds: Iterable[float]) -> list[float]:
    """At each of the looks, since when a whole lease has been seen."""
    return [(watch.look(after(each), LEASE) - NOON).total_seconds() for each in seconds]


def test_who_looks_all_the_time_has_seen_the_last_sixty_seconds() -> None:
    assert looks(Watch(NOON), range(1, 200)) == [second - 60 for second in range(1, 200)]


def test_a_tick_that_takes_a_while_is_no_darkness() -> None:
    assert looks(Watch(NOON), [1, 16, 17]) == [-59, -44, -43]


def test_what_passed_in_the_dark_does_not_count() -> None:
    watch = Watch(NOON)
    looks(watch, range(1, 101))
    # Away from 100 to 1000: 30 seconds were seen since, 30 before.
    assert looks(watch, range(1000, 1031))[-1] == 70


def test_after_a_lease_of_sight_the_darkness_is_forgotten() -> None:
    watch = Watch(NOON)
    looks(watch, [100, *range(1000, 1062)])
    assert looks(watch, [1062, 1063]) == [1002, 1003]
    assert watch._dark == []


def test_several_outages_are_added_up() -> None:
    watch = Watch(NOON)
    seen = [*range(1, 41), *range(100, 111), *range(200, 211)]
    # Of sixty seconds ten were seen after the second outage, ten between the two, forty before the first.
    assert looks(watch, seen)[-1] == 0


def test_a_database_that_comes_and_goes_does_not_keep_a_lost_run_for_ever() -> None:
    watch = Watch(NOON)
    seen = [minute * 60 + second for minute in range(20) for second in range(10)]
    # Ten seconds of each minute: a lease is over after six minutes.
    assert looks(watch, seen)[-1] > 12 * 60


def test_a_clock_that_is_set_forward_loses_no_run() -> None:
    watch = Watch(NOON)
    looks(watch, range(1, 101))
    assert looks(watch, [3700]) == [40]


def test_a_clock_that_is_set_back_does_no_harm() -> None:
    watch = Watch(NOON)
    looks(watch, [1, 3600])
    assert looks(watch, [2, 3]) == [-58, -57]
