"""The spans by OpenTelemetry's SDK. Only `spans.py` imports this, and only where traces are wanted.

Exporter, batches, sampler, limits and resource are the SDK's, which reads their OTEL_ variables itself.
"""

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from webhooks.traces.context import HEADER, continued
from webhooks.traces.spans import END_SECONDS, Message, Receipt, RunOf, RunSpan, Spans

ROUTE = "/webhooks/{source}"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_propagator = TraceContextTextMapPropagator()
_next_id: ContextVar[int | None] = ContextVar("next_id", default=None)


class _Ids(RandomIdGenerator):
    """Random ids, but for the span that `_next_id` is set for."""

    def generate_span_id(self) -> int:
        return _next_id.get() or super().generate_span_id()


class SdkReceipt(Receipt):
    def __init__(self, span: Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(span))
        self.traceparent = carrier.get(HEADER, "")

    def answered(self, status: int, said: Mapping[str, Any]) -> None:
        self._span.set_attribute("http.response.status_code", status)
        for name in ("delivery", "jobs"):
            if name in said:
                self._span.set_attribute(f"hookline.{name}", said[name])
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)


class SdkRunSpan(RunSpan):
    def __init__(self, span: Span) -> None:
        self._span = span

    def ended(self, kind: str, *, is_error: bool, message: str, traceback: str) -> None:
        self._span.set_attribute("hookline.outcome", kind)
        if is_error:
            self._span.set_status(StatusCode.ERROR, message)
            self._span.add_event("exception", {"exception.message": message, "exception.stacktrace": traceback})


class SdkSpans(Spans):
    """Sends spans in batches, from a thread of this process. Handlers find the provider by OpenTelemetry's own API."""

    def __init__(self, role: str) -> None:
        given = OTELResourceDetector().detect().attributes
        resource = Resource.create({"service.name": f"hookline-{role}", **given})
        self._provider = TracerProvider(resource=resource, id_generator=_Ids(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(self._provider)
        self._tracer = self._provider.get_tracer("hookline")

    @contextmanager
    def receiving(self, method: str, traceparent: str | None) -> Iterator[Receipt]:
        known = method if method in METHODS else "HTTP"
        # Not made the current one: which request that would mean depends on how the server runs its coroutines.
        span = self._tracer.start_span(
            f"{known} {ROUTE}",
            _context_of(traceparent),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": known.replace("HTTP", "_OTHER"), "http.route": ROUTE},
        )
        try:
            yield SdkReceipt(span)
        finally:
            span.end()

    def published(self, messages: Sequence[Message], *, began_at: int) -> None:
        for message in messages:
            if message.traceparent:
                self._tracer.start_span(
                    f"send {message.queue}",
                    _context_of(message.traceparent),
                    kind=SpanKind.PRODUCER,
                    attributes={
                        "messaging.operation.type": "send",
                        "messaging.destination.name": message.queue,
                        "hookline.job": message.id,
                        "hookline.handler": message.handler,
                    },
                    start_time=began_at,
                ).end()

    @contextmanager
    def running(self, run: RunOf) -> Iterator[RunSpan]:
        context = _context_of(continued(run.traceparent, run.guid))
        trace_id = trace.get_current_span(context).get_span_context().trace_id
        token = _next_id.set(_id_of(trace_id, run.job, run.attempt))
        try:
            span = self._tracer.start_span(
                run.handler,
                context,
                kind=SpanKind.CONSUMER,
                attributes=_attributes_of(run),
                links=_links_to_former(trace_id, run),
            )
        finally:
            _next_id.reset(token)
        with trace.use_span(span, end_on_exit=True):
            yield SdkRunSpan(span)

    def end(self) -> None:
        # On a thread, since the SDK's own limit for the end is longer than a process may take that stops.
        ending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(END_SECONDS)


def _context_of(traceparent: str | None) -> Context:
    return _propagator.extract({HEADER: traceparent} if traceparent else {}, Context())


def _attributes_of(run: RunOf) -> dict[str, str | int]:
    return {
        "messaging.operation.type": "process",
        "messaging.destination.name": run.queue,
        "github.event": run.event,
        "github.repository": run.repository,
        "hookline.guid": str(run.guid),
        "hookline.delivery": run.delivery,
        "hookline.job": run.job,
        "hookline.attempt": run.attempt,
    }


def _links_to_former(trace_id: int, run: RunOf) -> list[Link]:
    """Return a link to the attempt before this one. Its span may be missing: it may have ended with its process."""
    if run.attempt == 1 or not trace_id:
        return []
    former = SpanContext(trace_id, _id_of(trace_id, run.job, run.attempt - 1), is_remote=True)
    return [Link(former, {"hookline.attempt": run.attempt - 1})]


def _id_of(trace_id: int, job: int, attempt: int) -> int:
    """Return a run's span id: made of what is known of the run, so that the next one can name it."""
    return int.from_bytes(hashlib.sha256(f"{trace_id}:{job}:{attempt}".encode()).digest()[:8]) or 1
