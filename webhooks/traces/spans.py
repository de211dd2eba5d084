"""The spans that Hookline writes: of a delivery's receipt, of each message for its jobs, and of each run.

Here they are nothing. Only where an exporter has an address (settings.HOOKLINE_TRACES), `sdk.py` is imported, with
OpenTelemetry, and takes the place of these classes. The exporter has a thread: a process calls `start` only after it
was forked, and `end` before it exits.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol
from uuid import UUID

SDK = "webhooks.traces.sdk"
END_SECONDS = 1.0
"""How long a process waits at its end for a collector that takes its last spans."""


class Message(Protocol):
    """A message that was put on the broker for a job."""

    @property
    def id(self) -> int: ...
    @property
    def handler(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def traceparent(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOf:
    """What a run's span says of it."""

    traceparent: str | None
    guid: UUID
    delivery: int
    job: int
    handler: str
    queue: str
    attempt: int
    event: str
    repository: str


class Receipt:
    """The span of a request."""

    traceparent = ""
    """What continues it; empty if there is no span."""

    def answered(self, status: int, said: Mapping[str, Any]) -> None:
        """Note the answer: its status, and what it says of the delivery."""


class RunSpan:
    """The span of a run."""

    def ended(self, kind: str, *, is_error: bool, message: str, traceback: str) -> None:
        """Note how the run ended."""


class Spans:
    """Begins and ends spans."""

    def receiving(self, method: str, traceparent: str | None) -> AbstractContextManager[Receipt]:
        """Begin the span of a request to the webhooks. It continues what the request brought along."""
        return nullcontext(_NO_RECEIPT)

    def published(self, messages: Sequence[Message], *, began_at: int) -> None:
        """Write a span for each message, from a moment (in nanoseconds of the wall clock) until now."""

    def running(self, run: RunOf) -> AbstractContextManager[RunSpan]:
        """Begin the span of a run. It is current meanwhile, so that the handler's own spans are inside of it."""
        return nullcontext(_NO_RUN)

    def end(self) -> None:
        """Send the spans that have not been sent yet, within END_SECONDS."""


_NO_RECEIPT, _NO_RUN = Receipt(), RunSpan()
_spans = Spans()


def spans() -> Spans:
    """Return this process's spans."""
    return _spans


def is_installed() -> bool:
    """Import OpenTelemetry; tell whether it is there."""
    try:
        import_module(SDK)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        return False
    return True


def start(role: str) -> None:
    """Write spans in this process from now on, as the service `hookline-<role>`, if OpenTelemetry is installed."""
    global _spans  # noqa: PLW0603  A process has one exporter, as OpenTelemetry has one provider.
    if is_installed():
        _spans = import_module(SDK).SdkSpans(role)
