"""A handler whose first attempt fails, and that says what it does: in log lines, and in a span where there are any."""

import logging
import sys
import threading
from contextlib import nullcontext
from typing import Any

from webhooks import Backoff, Event, Run, on

logger = logging.getLogger(__name__)


def own_span() -> Any:
    if "opentelemetry.sdk.trace" not in sys.modules:
        return nullcontext()
    from opentelemetry import trace

    return trace.get_tracer("traced_bot").start_as_current_span("own work")


@on("repository_dispatch", actions=["work"], backoff=Backoff(first=0.1, longest=0.1), max_attempts=2)
def work(event: Event, run: Run) -> str:
    with own_span():
        logger.info("at work", extra={"job": "of my own", "loaded": "opentelemetry.sdk.trace" in sys.modules})
        aside = threading.Thread(target=logger.info, args=["at work aside"])
        aside.start()
        aside.join()
    if run.attempt == 1:
        raise ValueError("not yet")
    return "worked"
