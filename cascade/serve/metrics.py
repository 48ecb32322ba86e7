"""What Prometheus reads."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cascade.serve.access import Queue
from cascade.serve.desk import Desk

# Seconds of a decision: hot ones take tens of microseconds, full ones milliseconds.
_BUCKETS = (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.5)


class Metrics:
    """Counters of one process. Those of the desks are read when they are asked for.

    Attributes:
        answers: by HTTP status.
        seconds: of decisions: how many were answered, and their sum.
    """

    def __init__(self, desks: Mapping[str, Desk], queue: Queue) -> None:
        self.registry = CollectorRegistry()
        # Plain numbers: one thread counts, and the library's counters lock for several.
        self.answers: dict[int, int] = {}
        self._sum, self._counts = 0.0, [0] * (len(_BUCKETS) + 1)
        self.registry.register(_Answers(self))
        self.registry.register(_Desks(desks, queue))

    def count(self, status: int) -> None:
        """One answer of that status."""
        self.answers[status] = self.answers.get(status, 0) + 1

    def took(self, seconds: float) -> None:
        """One decision."""
        self._sum += seconds
        self._counts[bisect_left(_BUCKETS, seconds)] += 1

    @property
    def seconds(self) -> tuple[list[tuple[str, float]], float]:
        """(upper bound, decisions up to it) of each bucket, and the sum of all seconds."""
        bounds = [*map(str, _BUCKETS), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True)), self._sum

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class _Answers(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        answers = CounterMetricFamily(
            "grandmodel_answers", "Answers by HTTP status.", labels=("status",)
        )
        for status, count in self._metrics.answers.items():
            answers.add_metric((str(status),), count)
        seconds = HistogramMetricFamily(
            "grandmodel_request_seconds",
            "Seconds from a request's admission to its decision, the simulated books included.",
        )
        seconds.add_metric((), *self._metrics.seconds)
        return [answers, seconds]


class _Desks(Collector):
    def __init__(self, desks: Mapping[str, Desk], queue: Queue) -> None:
        self._desks, self._queue = desks, queue

    def collect(self) -> Iterable[Metric]:
        waiting = GaugeMetricFamily("grandmodel_queue_waiting", "Requests being decided.")
        waiting.add_metric((), self._queue.waiting)
        shed = CounterMetricFamily("grandmodel_queue_shed", "Requests turned away.")
        shed.add_metric((), self._queue.shed)
        by = ("instrument",)
        decisions = CounterMetricFamily(
            "grandmodel_decisions", "Decisions by kind.", labels=(*by, "kind")
        )
        gauges = {
            "ready": GaugeMetricFamily("grandmodel_ready", "Whether it is ready.", labels=by),
            "degraded": GaugeMetricFamily("grandmodel_degraded", "Things amiss.", labels=by),
            "position": GaugeMetricFamily("grandmodel_position_units", "Held.", labels=by),
            "result": GaugeMetricFamily("grandmodel_result", "Gained, currency.", labels=by),
            "record": GaugeMetricFamily("grandmodel_record", "Last safe record.", labels=by),
        }
        for name, desk in self._desks.items():
            for kind, count in desk.decisions.items():
                decisions.add_metric((name, kind), count)
            values = {
                "ready": float(not desk.reasons),
                "degraded": float(len(desk.engine.degraded)),
                "position": float(desk.session.account["position"][0]),
                "result": desk.session.result,
                "record": float(desk.engine.recorded),
            }
            for key, value in values.items():
                gauges[key].add_metric((name,), value)
        return [waiting, shed, decisions, *gauges.values()]
