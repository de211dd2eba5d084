"""One trace from GitHub's request to the handler and its own spans, and one set of fields in every log line on the way.

Receiver, relay and worker are real processes; they send their spans to a collector in this one.
"""

import json
import signal
import socket
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import OUTSIDE, manage
from tests.support.stack import Stack, running_stack

traced = pytest.mark.skipif(find_spec("opentelemetry") is None, reason="the extra otel is not installed")
HANDLER = "traced_bot.work"
APP = {"HOOKLINE_APPS": "traced_bot", "PYTHONPATH": str(OUTSIDE), "HOOKLINE_LOG_FORMAT": "json"}
NEVER = "3600000"
"""As the pause between two batches, in milliseconds: spans are sent only as a process ends."""
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER, PRODUCER, CONSUMER = 2, 4, 5
ERROR = 2


def work(stack: Stack, *, guid: str = "", traceparent: str = "") -> dict[str, Any]:
    """Send a delivery whose job fails once and then succeeds, stop everything, and return the receiver's answer."""
    stack.start_all(concurrency=2)
    status, answer = stack.send("work", guid=guid, headers={"traceparent": traceparent} if traceparent else {})
    assert status == 202
    stack.wait_until_drained()
    stop(stack)
    assert stack.states() == {"succeeded": 1}
    return answer


def stop(stack: Stack) -> None:
    for _, process in stack.processes:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(timeout=60) for _, process in stack.processes] == [0, 0, 0]


def lines(stack: Stack) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stack.logs().splitlines() if line.startswith("{")]


def of_message(stack: Stack, message: str) -> list[dict[str, Any]]:
    return [line for line in lines(stack) if line["message"] == message]


@traced
def test_one_trace_leads_from_the_request_to_the_handlers_own_spans_and_attempts_are_linked(tmp_path: Path) -> None:
    from tests.support.collector import attributes_of, running_collector

    with running_collector() as collector:
        own = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": NEVER,
            "HOOKLINE_CHILD_MAX_JOBS": "1",  # Each attempt has a child of its own, which ends with it or in the stop.
        }
        with running_stack(tmp_path, database="sqlite", broker="filesystem", **APP, **own) as stack:
            answer = work(stack)
            (received,) = collector.named("POST /webhooks/{source}")
            (sent,) = collector.named("send default")
            first, second = collector.named(HANDLER)
            insides = collector.named("own work")
            (stored,) = of_message(stack, "delivery stored")

    assert {one.trace for one in collector.spans} == {received.trace} == {stored["trace_id"]}
    assert [one.span.kind for one in (received, sent, first, second)] == [SERVER, PRODUCER, CONSUMER, CONSUMER]
    assert [one.parent for one in (received, sent, first, second)] == ["", received.id, received.id, received.id]
    assert [one.parent for one in insides] == [first.id, second.id]
    assert {one.service for one in (received, sent)} == {"hookline-receiver"}
    assert {one.service for one in (first, second, *insides)} == {"hookline-worker"}
    assert received.attributes["http.response.status_code"] == 202
    assert received.attributes["hookline.delivery"] == second.attributes["hookline.delivery"] == answer["delivery"]
    assert [one.attributes["hookline.outcome"] for one in (first, second)] == ["failed", "succeeded"]
    assert [one.span.status.code for one in (first, second)] == [ERROR, 0]
    assert "ValueError: not yet" in attributes_of(first.span.events[0])["exception.stacktrace"]
    assert not first.span.links
    (link,) = second.span.links
    assert (link.trace_id.hex(), link.span_id.hex()) == (first.trace, first.id)


@traced
def test_a_trace_that_the_request_brings_is_continued(tmp_path: Path) -> None:
    from tests.support.collector import running_collector

    with running_collector() as collector:
        own = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "hooks"}
        with running_stack(tmp_path, database="sqlite", broker="filesystem", **APP, **own) as stack:
            work(stack, traceparent=f"00-{TRACE}-{SPAN}-01")
    (received,) = collector.named("POST /webhooks/{source}")
    assert received.parent == SPAN
    assert {(one.trace, one.service) for one in collector.spans} == {(TRACE, "hooks")}
    assert len(collector.named("own work")) == 2


@traced
def test_a_collector_that_never_answers_keeps_no_job_from_its_end_and_no_process_from_its_exit(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        own = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        with running_stack(tmp_path, database="sqlite", broker="filesystem", **APP, **own) as stack:
            work(stack)


def test_without_a_collector_no_spans_are_loaded_and_the_lines_of_a_job_have_the_same_fields(
    tmp_path: Path,
) -> None:
    guid = uuid.uuid4()
    with running_stack(tmp_path, database="sqlite", broker="filesystem", **APP) as stack:
        answer = work(stack, guid=str(guid))
        ((job, headers),) = stack.rows(
            "SELECT j.id, d.headers FROM webhooks_job j JOIN webhooks_delivery d ON d.id = j.delivery_id"
        )
        (stored,) = of_message(stack, "delivery stored")
        at_work, aside = of_message(stack, "at work"), of_message(stack, "at work aside")
        (failed,) = of_message(stack, "attempt ended")
    assert "traceparent" not in json.loads(headers)
    delivery = {"delivery": answer["delivery"], "guid": str(guid), "trace_id": guid.hex}
    assert stored.items() >= {**delivery, "job_ids": [job]}.items()
    of_first, of_second = ({**delivery, "job": job, "handler": HANDLER, "attempt": number} for number in (1, 2))
    assert failed.items() >= {**of_first, "outcome": "failed"}.items()
    for first, second in (at_work, aside):
        assert first.items() >= of_first.items()
        assert second.items() >= of_second.items()
    assert [(line["own_job"], line["loaded"]) for line in at_work] == [("of my own", False)] * 2


def test_an_address_without_opentelemetry_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ModuleNotFoundError('No such module', name='opentelemetry')")
    own = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "PYTHONPATH": str(tmp_path)}
    ended = manage("check", HOOKLINE_DATA_DIR=tmp_path / "data", **own)
    assert ended.returncode == 0
    assert "OpenTelemetry is not installed" in ended.stderr
