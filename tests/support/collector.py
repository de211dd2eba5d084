"""A collector of traces on loopback: takes OTLP over HTTP, and keeps the spans."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Collected:
    """A span, with the service that it is of."""

    service: str
    span: Any

    @property
    def id(self) -> str:
        return str(self.span.span_id.hex())

    @property
    def trace(self) -> str:
        return str(self.span.trace_id.hex())

    @property
    def parent(self) -> str:
        return str(self.span.parent_span_id.hex())

    @property
    def attributes(self) -> dict[str, Any]:
        return attributes_of(self.span)


def attributes_of(holder: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in holder.attributes}


@dataclass
class Collector:
    url: str
    spans: list[Collected] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = attributes_of(group.resource)["service.name"]
            self.spans += [Collected(service, span) for scope in group.scope_spans for span in scope.spans]

    def named(self, name: str) -> list[Collected]:
        """Return the spans of a name, in the order of their beginnings."""
        return sorted(
            (one for one in self.spans if one.span.name == name), key=lambda one: int(one.span.start_time_unix_nano)
        )


@contextmanager
def running_collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
