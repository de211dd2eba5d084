"""Real scrapes of a receiver, a relay, a worker and a reconciler, and deliveries of all kinds that these count."""

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import urllib3
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.deliveries import PATH, headers_for
from tests.support.github.log import Hook
from tests.support.github.server import GitHub, serving
from tests.support.processes import free_port, wait_until
from tests.support.stack import Stack, running_stack

SENDERS = 8
UNAVAILABLE = 503
REDELIVERIES = 60
http = urllib3.PoolManager(maxsize=2 * SENDERS, retries=False)

Series = frozenset[tuple[str, tuple[tuple[str, str], ...]]]
"""Names of samples, with their labels."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A delivery to send. With another secret than the receiver's it is refused."""

    event: str = "repository_dispatch"
    action: str = "work"
    number: int = 0
    """Chooses repository and installation."""
    secret: str = ""
    seconds: float = 0.0
    """How long its handler sleeps, if it does."""

    def body(self) -> bytes:
        payload = {
            "action": self.action,
            "client_payload": {"seconds": self.seconds},
            "repository": {"id": self.number, "full_name": f"acme/widget-{self.number}"},
            "installation": {"id": 1_000 + self.number},
            "sender": {"login": f"octo-{self.number}"},
        }
        return json.dumps(payload).encode()


@dataclass(frozen=True, slots=True)
class Scraped:
    """A stack whose three processes can be scraped."""

    stack: Stack
    ports: dict[str, int]

    def text(self, role: str) -> str:
        return http.request("GET", f"http://127.0.0.1:{self.ports[role]}/metrics", timeout=10).data.decode()

    def families(self, role: str) -> dict[str, Metric]:
        """Return the metrics of a process by the names that queries use: a counter's ends in `_total`."""
        families = text_string_to_metric_families(self.text(role))
        return {f"{one.name}_total" if one.type == "counter" else one.name: one for one in families}

    def series(self, role: str) -> Series:
        return frozenset(
            (sample.name, tuple(sorted(sample.labels.items())))
            for family in self.families(role).values()
            for sample in family.samples
        )

    def send(self, sendings: Iterable[Sending]) -> list[int]:
        """POST signed deliveries, several at a time; return the last statuses.

        What the receiver could not store in time goes again, as it would from GitHub: on a busy machine a disk may
        stand still for longer than GitHub waits.
        """
        with ThreadPoolExecutor(SENDERS) as senders:
            return list(senders.map(self._send_until_stored, sendings))

    def _send_until_stored(self, sending: Sending) -> int:
        guid = str(uuid.uuid4())
        for _ in range(REDELIVERIES):
            if (status := self._send(sending, guid)) != UNAVAILABLE:
                return status
            time.sleep(1)
        raise AssertionError(f"{REDELIVERIES} times the receiver could not store a delivery")

    def _send(self, sending: Sending, guid: str) -> int:
        body = sending.body()
        headers = headers_for(body, secret=sending.secret or self.stack.secret, event=sending.event, guid=guid)
        url = f"http://127.0.0.1:{self.ports['receiver']}{PATH}"
        return http.request("POST", url, body=body, headers=headers, timeout=60).status


@contextmanager
def scraped_stack(directory: Path, **environment: str) -> Iterator[Scraped]:
    """Yield a stack on SQLite and the filesystem broker, each of its three processes ready."""
    with running_stack(directory, database="sqlite", broker="filesystem", **environment) as stack:
        stack.migrate()
        ports = {"receiver": stack.port, "relay": free_port(), "worker": free_port()}
        stack.start("receiver")
        stack.start("relay", HOOKLINE_PROBE_PORT=str(ports["relay"]))
        stack.start("worker", "--concurrency", "2", HOOKLINE_PROBE_PORT=str(ports["worker"]))
        for role, port in ports.items():
            wait_until(partial(_is_ready, port), what=f"the {role} to be ready")
        yield Scraped(stack, ports)


@contextmanager
def scraped_reconciler(scraped: Scraped) -> Iterator[Hook]:
    """Beside the others a reconciler that can be scraped; yield the hook whose log it reads every ten seconds."""
    with serving(GitHub()) as github:
        hook, port = github.hook(), free_port()
        variables = {"HOOKLINE_RECONCILE_SECONDS": "10", "HOOKLINE_PROBE_PORT": str(port)}
        scraped.stack.start("reconcile", "--watch", **variables, **github.variables())
        wait_until(partial(_is_ready, port), what="the reconciler to be ready")
        scraped.ports["reconcile"] = port
        yield hook


def _is_ready(port: int) -> bool:
    try:
        return http.request("GET", f"http://127.0.0.1:{port}/readyz", timeout=5).status == 200
    except urllib3.exceptions.HTTPError:
        return False
