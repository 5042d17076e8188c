"""What is counted of predictions, for Prometheus."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The counters of one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        of: Any = {"registry": self._registry, "namespace": "ml_assets"}
        self.requests = Counter("predict_requests", "Requests answered.", ["project", "code"], **of)
        self.seconds = Histogram("predict_seconds", "Time to answer a request.", ["project"], buckets=SECONDS, **of)
        self.rows = Counter("predict_rows", "Rows predicted.", ["project", "version"], **of)
        self.champion = Gauge("champion_version", "The version that serves.", ["project"], **of)
        self.swaps = Counter("champion_swaps", "Times that another version took over.", ["project"], **of)
        self.failed_loads = Counter("champion_failed_loads", "Versions that could not be loaded.", ["project"], **of)
        self.failed_looks = Counter("ledger_failed_looks", "Times that the ledger could not be read.", **of)
        self.logged = Counter("requests_logged", "Rows of requests written to the lake.", ["project"], **of)
        self.unlogged = Counter(
            "requests_not_logged", "Rows of requests that a full queue or a failure dropped.", ["project"], **of
        )

    def page(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)
