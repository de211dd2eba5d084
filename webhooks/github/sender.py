"""Sends signed deliveries over HTTP as GitHub does, and measures the answers. For samples and for load tests.

With a rate, delivery n is due at start + n / rate, whether or not earlier ones were answered (an open loop). Its
latency counts from then, so that the time for which deliveries wait for a stalled receiver is measured too.
"""

import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, TimeoutError

from webhooks.github.payload import JSON
from webhooks.github.signature import sign

SAMPLE_HOOK_ID = 512340001
SAMPLE_APP_ID = 340077
TIMEOUT_SECONDS = 10.0
"""GitHub counts a delivery as failed after this. https://docs.github.com/en/webhooks/using-webhooks/best-practices-for-using-webhooks"""
REFUSED = "connection refused"


@dataclass(frozen=True, slots=True)
class Message:
    """What to send: an event's name and the body with its signature. It does not hold the secret."""

    event: str
    body: bytes
    signature: str

    @classmethod
    def signed(cls, event: str, body: bytes, *, secret: str) -> "Message":
        return cls(event, body, sign(body, secret))

    def headers(self, *, hook_id: int, guid: str | None = None) -> dict[str, str]:
        """Return GitHub's headers, with a new GUID if none is given."""
        return {
            "Accept": "*/*",
            "Content-Type": JSON,
            "User-Agent": "GitHub-Hookshot/5a3b1e7",
            "X-GitHub-Delivery": guid or str(uuid.uuid4()),
            "X-GitHub-Event": self.event,
            "X-GitHub-Hook-ID": str(hook_id),
            "X-GitHub-Hook-Installation-Target-ID": str(SAMPLE_APP_ID),
            "X-GitHub-Hook-Installation-Target-Type": "integration",
            "X-Hub-Signature-256": self.signature,
        }


@dataclass(slots=True)
class Report:
    """The answers to all deliveries of one call of `send`."""

    answers: Counter[int] = field(default_factory=Counter)
    """Answers by status code."""
    errors: Counter[str] = field(default_factory=Counter)
    """Deliveries without an answer, by kind."""
    explanations: dict[int, str] = field(default_factory=dict)
    """The start of the first body of each status code that is not 2xx."""
    latencies: list[float] = field(default_factory=list)
    """Seconds to each answer."""
    seconds: float = 0.0

    @property
    def sent(self) -> int:
        return self.answers.total() + self.errors.total()

    @property
    def accepted(self) -> int:
        return sum(count for status, count in self.answers.items() if 200 <= status < 300)

    @property
    def is_refused(self) -> bool:
        """Tell whether every connection was refused: nothing listens."""
        return not self.answers and set(self.errors) == {REFUSED}

    def add_answer(self, status: int, body: bytes, latency: float) -> None:
        self.answers[status] += 1
        self.latencies.append(latency)
        if not 200 <= status < 300:
            self.explanations.setdefault(status, _printable(body))

    def lines(self) -> Iterator[str]:
        """Yield the summary for the operator."""
        rate = self.sent / self.seconds if self.seconds else 0.0
        deliveries = "1 delivery" if self.sent == 1 else f"{self.sent:,} deliveries"
        yield f"Sent {deliveries} in {self.seconds:.2f} s ({rate:,.1f}/s)."
        for status, count in sorted(self.answers.items()):
            yield f"  {status}: {count:,}" + (f"  {self.explanations[status]}" if status in self.explanations else "")
        for kind, count in self.errors.most_common():
            yield f"  no answer ({kind}): {count:,}"
        if self.latencies:
            ordered = sorted(self.latencies)
            shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
            figures = (f"{name} {percentile(ordered, share) * 1000:,.1f}" for name, share in shares.items())
            yield f"Latency in ms: {', '.join(figures)}"


class Sender:
    """Sends messages from several threads, and stops early if every connection is refused."""

    def __init__(
        self, url: str, *, hook_id: int = SAMPLE_HOOK_ID, guid: str | None = None, concurrency: int = 1
    ) -> None:
        self.url = url
        self.hook_id = hook_id
        self.guid = guid
        self.concurrency = concurrency
        self.report = Report()
        self._pool = urllib3.PoolManager(
            maxsize=concurrency, timeout=urllib3.Timeout(total=TIMEOUT_SECONDS), retries=False
        )
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def send(
        self,
        messages: Sequence[Message],
        *,
        count: int = 1,
        rate: float | None = None,
        progress: Callable[[], object] = lambda: None,
    ) -> Report:
        """Send each message `count` times, `rate` a second over all threads; call `progress` after each."""
        start = time.perf_counter()
        plan = enumerate(itertools.chain.from_iterable(itertools.repeat(messages, count)))
        threads = [
            threading.Thread(
                target=self._work, args=(plan, start, rate, progress), name=f"sender-{number}", daemon=True
            )
            for number in range(min(self.concurrency, count * len(messages)))
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:  # Ctrl-C stops the threads, too.
            self._stopping.set()
            self.report.seconds = time.perf_counter() - start
            self._pool.clear()
        return self.report

    def _work(
        self, plan: Iterator[tuple[int, Message]], start: float, rate: float | None, progress: Callable[[], object]
    ) -> None:
        while not self._stopping.is_set():
            with self._lock:
                number, message = next(plan, (-1, None))
            if message is None:
                return
            due = time.perf_counter() if rate is None else start + number / rate
            if self._stopping.wait(max(0.0, due - time.perf_counter())):
                return
            self._send_one(message, due)
            with self._lock:
                progress()

    def _send_one(self, message: Message, due: float) -> None:
        headers = message.headers(hook_id=self.hook_id, guid=self.guid)
        try:
            response = self._pool.request("POST", self.url, body=message.body, headers=headers, redirect=False)
        except HTTPError as error:
            with self._lock:
                self.report.errors[_kind(error)] += 1
                if self.report.is_refused:
                    self._stopping.set()
            return
        latency = time.perf_counter() - due
        with self._lock:
            self.report.add_answer(response.status, response.data, latency)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that `share` of the sorted values do not exceed (the nearest rank)."""
    rank = -int(-len(ordered) * share // 1)
    return ordered[max(0, rank - 1)]


def _kind(error: HTTPError) -> str:
    if isinstance(error, NewConnectionError):
        refused = isinstance(error.__cause__, ConnectionRefusedError)
        return REFUSED if refused else "no connection"
    if isinstance(error, TimeoutError):
        return "timeout"
    return "connection lost"


def _printable(body: bytes) -> str:
    text = " ".join(body[:200].decode(errors="replace").split())
    return "".join(character for character in text if character.isprintable())
