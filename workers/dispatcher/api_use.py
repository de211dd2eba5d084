"""What the runs of this worker have learnt of GitHub's rate limits: what of it the inbox is told, and the metrics."""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from webhooks.github_api.budget import Seen
from webhooks.inbox.api_limits import Installation
from workers.dispatcher.desk import EndedRun

NOTE_SECONDS = 1.0
"""How often the inbox is told of the calls that an installation has left, at most. Of a refusal it is told at once."""
KNOWN = 10_000
"""Of so many installations it is known when the inbox was told last."""


class Limits:
    """Picks what the inbox is told."""

    def __init__(self) -> None:
        self._noted_at: dict[Installation, float] = {}

    def to_note(self, ended: Iterable[EndedRun], *, now: float) -> dict[Installation, Seen]:
        """Return for each installation whose API these runs have called what the last of them says."""
        found: dict[Installation, Seen] = {}
        for run in ended:
            job, seen = run.job, run.message.outcome.api
            if seen is None or job.installation_id is None:
                continue
            of = (job.source, job.installation_id)
            closed = max(seen.closed_seconds, found[of].closed_seconds if of in found else 0.0)
            found[of] = seen._replace(closed_seconds=closed)
        due = {of: seen for of, seen in found.items() if self._is_due(of, seen, now)}
        if len(self._noted_at) > KNOWN:
            self._noted_at.clear()
        self._noted_at.update(dict.fromkeys(due, now))
        return due

    def _is_due(self, of: Installation, seen: Seen, now: float) -> bool:
        return seen.closed_seconds > 0 or now - self._noted_at.get(of, -NOTE_SECONDS) >= NOTE_SECONDS


class ApiMetrics:
    """The metrics. Installations are no labels: of each source they name the one with the fewest calls left."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._put_off = Counter(
            "hookline_worker_runs_put_off",
            "Runs that a rate limit of GitHub's has put off.",
            ["handler"],
            registry=registry,
        )
        self._remaining = Gauge(
            "hookline_worker_api_remaining",
            "Calls of GitHub's API that are left until the reset, by the answers to this worker: of the source's "
            "installations, the fewest.",
            ["source"],
            registry=registry,
        )
        self._left: dict[str, dict[int, tuple[int, float]]] = {}
        """By source and installation: calls left, and until when that holds by the machine's monotonic clock."""

    def ended(self, run: EndedRun) -> None:
        job, outcome = run.job, run.message.outcome
        if outcome.is_put_off:
            self._put_off.labels(job.handler).inc()
        if outcome.api is None or outcome.api.remaining is None or job.installation_id is None:
            return
        now = time.monotonic()
        known = self._left.get(job.source, {})
        known[job.installation_id] = (outcome.api.remaining, now + outcome.api.resets_in_seconds)
        self._left[job.source] = {of: one for of, one in known.items() if one[1] > now}
        fewest = min((left for left, _ in self._left[job.source].values()), default=outcome.api.remaining)
        self._remaining.labels(job.source).set(fewest)
