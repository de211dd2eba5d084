"""Stops every worker once: finds those that run, asks them to stop, and watches until they have ended.

It uses Celery's remote control, which works on each of the brokers; `remote_commands.py` is the worker's side. Every
round asks again, so that a worker which was just connecting is asked too. Clocks are not compared: a worker answers
with its age, and is asked to stop if it started before the command. A worker that stops no longer answers; the inbox
shows the jobs that it still runs. A worker that was stopping before the command is seen only there.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from django.db.models import Count, OuterRef, Subquery, Value
from django.db.models.functions import Coalesce, NullIf
from kombu import Connection

from webhooks.models import Attempt, Job
from webhooks.publishing.broker import Nodes, broker_errors
from webhooks.states import JobState

ANSWER_SECONDS = 1.0
SILENT_ROUNDS = 3
"""A worker that does not answer for so many rounds is stopping, and if it runs no job, it is gone."""


@dataclass(slots=True)
class AskedWorker:
    """A worker that has been asked to stop."""

    node: str
    silent_rounds: int = 0
    is_stopping: bool = False
    is_replaced: bool = False

    def stops(self) -> bool:
        """Tell whether it stops: by its own answer, or by SILENT_ROUNDS without an answer."""
        return self.is_stopping or self.is_replaced or self.silent_rounds >= SILENT_ROUNDS

    def is_gone(self, running: Mapping[str, int]) -> bool:
        return self.is_replaced or (self.silent_rounds >= SILENT_ROUNDS and not running.get(self.node))


@dataclass(slots=True)
class RemoteStop:
    """The workers that consume from `queue`, or all of them, as far as they have answered."""

    app: Celery
    queue: str = ""
    stay_down: bool = False
    asked: dict[str, AskedWorker] = field(default_factory=dict)
    """By the worker's instance."""
    unreached: set[str] = field(default_factory=set)
    """Nodes with running jobs in the inbox that have never answered: they were stopping already, or are lost."""
    _answered: set[str] = field(default_factory=set)
    _started: float = field(default_factory=time.monotonic)
    _rounds: int = 0
    _nodes: Nodes = field(init=False)

    def __post_init__(self) -> None:
        self._nodes = Nodes(self.app)

    def run_round(self) -> None:
        """Ask which workers run, and ask those to stop that do not stop yet. Raises kombu's OperationalError."""
        with broker_errors(), self._nodes.connect(seconds=math.inf) as connection:
            answers = self._ask(connection, "hookline_worker")
            self._rounds += 1
            for asked in self.asked.values():
                asked.silent_rounds += 1
            self._take(answers)
            if waiting := {instance: asked.node for instance, asked in self.asked.items() if not asked.stops()}:
                arguments = {"instances": sorted(waiting), "stay_down": self.stay_down}
                # A worker that gets this answers that it stops. Without an answer it is asked again in the next round.
                nodes = sorted(set(waiting.values()))
                self._take(self._ask(connection, "hookline_stop", arguments=arguments, destination=nodes))

    def _ask(self, connection: Connection, command: str, **options: Any) -> list[tuple[str, dict[str, Any]]]:
        replies = self.app.control.broadcast(
            command, reply=True, timeout=ANSWER_SECONDS, connection=connection, **options
        )
        return [
            (node, answer)
            for reply in replies or []
            for node, answer in reply.items()
            # A worker of an older release does not have these commands, and answers with an error.
            if isinstance(answer, dict) and "instance" in answer
        ]

    def _take(self, answers: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        for node, answer in answers:
            self._answered.add(node)
            self.unreached.discard(node)
            for instance, asked in self.asked.items():
                asked.is_replaced |= asked.node == node and instance != answer["instance"]
            if self._is_meant(answer):
                asked = self.asked.setdefault(answer["instance"], AskedWorker(node))
                asked.silent_rounds = 0
                asked.is_stopping = answer["is_stopping"]

    def _is_meant(self, answer: Mapping[str, Any]) -> bool:
        if answer["instance"] in self.asked:
            return True
        if self.queue and self.queue not in answer["queues"]:
            return False
        # A worker that answers the first round ran before it; later rounds also reach workers that were started since.
        return self._rounds == 1 or answer["age_seconds"] >= time.monotonic() - self._started

    def all_stop(self) -> bool:
        """Tell whether there were enough rounds to be sure, and each worker that was asked stops."""
        return self._rounds >= SILENT_ROUNDS and all(asked.stops() for asked in self.asked.values())

    def find_unreached(self) -> dict[str, int]:
        """Look in the inbox for workers that no round has reached; return them with how many jobs they run."""
        running = running_jobs(queue=self.queue)
        self.unreached = running.keys() - self._answered
        return {node: running[node] for node in sorted(self.unreached)}

    def remaining(self) -> dict[str, int]:
        """Return the workers that are not gone yet, each with the number of its running jobs in the inbox."""
        running = running_jobs([*(asked.node for asked in self.asked.values()), *self.unreached])
        left = {asked.node for asked in self.asked.values() if not asked.is_gone(running)}
        left |= self.unreached & running.keys()
        return {node: running.get(node, 0) for node in sorted(left)}


def running_jobs(nodes: Iterable[str] | None = None, *, queue: str = "") -> Counter[str]:
    """Count the running jobs by worker; only of these workers, and only from this queue, if they are given."""
    # The release before this one wrote the worker of a running job only into the attempt's row.
    current = Attempt.objects.filter(job=OuterRef("pk"), number=OuterRef("attempt"))
    node = Coalesce(NullIf("worker", Value("")), Subquery(current.values("worker")[:1]))
    running = Job.objects.filter(state=JobState.RUNNING).annotate(node=node).exclude(node=None)
    if nodes is not None:
        running = running.filter(node__in=list(nodes))
    if queue:
        running = running.filter(queue=queue)
    return Counter(dict(running.values_list("node").annotate(Count("id"))))
