"""What Prometheus reads. Nothing is kept in the process: each web server answers from the ledger alone."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from jobledger.jobs import registry
from jobledger.metrics import families, gauges, totals
from jobledger.metrics.families import Metric
from jobledger.metrics.histogram import DELAY_BOUNDS, DURATION_BOUNDS, Histogram
from jobledger.metrics.names import Names
from jobledger.metrics.totals import Key, Totals
from jobledger.models import LIVE, SUCCESSES, Run, Status, Trigger

ENDS = tuple(str(status) for status in Status if status.is_final and status is not Status.SENT)
"""How the run of a job, or of a line of a crontab, may end."""
COUNT_SECONDS = 5.0
"""Prometheus waits for ten, by default."""


class _Collected(Collector):
    """Metrics that were read already."""

    def __init__(self, collected: Sequence[Family]) -> None:
        self._collected = collected

    def collect(self) -> Iterable[Family]:
        return self._collected


def read(now: datetime) -> Sequence[Family]:
    """All metrics.

    Raises totals.NotCountedError if there are too many runs to count at once, as at the first time.
    """
    return list(_families(now))


def encoded(found: Sequence[Family], accept: str) -> tuple[bytes, str]:
    """The text, in the format that the client prefers, and its content type."""
    collectors = CollectorRegistry(auto_describe=False)
    collectors.register(_Collected(found))
    encode, content_type = _encoder(accept)
    return encode(collectors), content_type


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        # The client asks for a version that is not a number.
        return choose_encoder("")


def _families(now: datetime) -> Iterator[Family]:
    ended = totals.read(now, within_seconds=COUNT_SECONDS)
    names = totals.names(ended)
    yield _runs(ended, names)
    durations: dict[str, Histogram] = defaultdict(lambda: Histogram(DURATION_BOUNDS))
    delays: dict[str, Histogram] = defaultdict(lambda: Histogram(DELAY_BOUNDS))
    for key, total in ended.items():
        durations[key.job].merge(total.duration)
        delays[key.job].merge(total.start_delay)
    yield _histogram(families.DURATION, durations)
    yield _histogram(families.START_DELAY, delays)
    yield _last_success(ended)
    yield from _gauges(gauges.read(now, names))


def _runs(ended: Totals, names: Names) -> Family:
    found = CounterMetricFamily(families.RUNS.name, families.RUNS.help, labels=families.RUNS.labels)
    for key, count in sorted(_counts(ended, names).items()):
        found.add_metric(key, count)
    return found


def _counts(ended: Totals, names: Names) -> dict[Key, int]:
    """The counters, each of which is 0 at first: Prometheus sees no increase in one that begins with 1.

    The runs of a new job or trigger are counted when they are settled; until then, all clients read 0.
    """
    known = {(job, str(Trigger.SCHEDULE)) for job in registry.all_jobs()}
    known.update((key.job, key.trigger) for key, total in ended.items() if total.is_settled)
    found = {key: total.count if key[:2] in known else 0 for key, total in ended.items()}
    live = Run.objects.filter(status__in=LIVE).order_by().values_list("job", "trigger").distinct()
    expected = [(names.of(job), trigger) for job, trigger in sorted(live)]
    starts = {*known, *(key[:2] for key in ended), *expected}
    return {Key(*start, status): 0 for start in starts for status in ENDS} | found


def _histogram(metric: Metric, of_jobs: dict[str, Histogram]) -> Family:
    found = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for job, histogram in sorted(of_jobs.items()):
        buckets = [(str(floatToGoString(bound)), count) for bound, count in histogram.buckets]  # type: ignore[no-untyped-call]
        found.add_metric([job], buckets=buckets, sum_value=histogram.sum)
    return found


def _last_success(ended: Totals) -> Family:
    metric, latest = families.LAST_SUCCESS, dict[str, datetime]()
    for key, total in ended.items():
        if key.status in SUCCESSES and (at := total.last_ended_at) is not None:
            latest[key.job] = max(latest.get(key.job, at), at)
    found = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for job, at in sorted(latest.items()):
        found.add_metric([job], at.timestamp())
    return found


def _gauges(samples: Iterable[gauges.Sample]) -> Iterator[Family]:
    found: dict[str, GaugeMetricFamily] = {}
    for sample in samples:
        metric = sample.metric
        if metric.name not in found:
            found[metric.name] = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        found[metric.name].add_metric(sample.labels, sample.value)
    yield from found.values()
