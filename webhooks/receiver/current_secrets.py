"""The secrets that this receiver verifies with: the environment's, and those that are kept in the database.

The stored ones are read by a thread (`inbox/refreshed.py`); a request reads memory. Whether one has ended is decided by
the database's clock: with each reading comes how long each secret still holds, and from then on the machine's monotonic
clock counts. So one ends in time while the database is away too, and a wrong clock of this machine changes nothing.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from webhooks.inbox.refreshed import Refreshed
from webhooks.inbox.secrets import reading, uses
from webhooks.inbox.secrets.reading import NO_KEY, StoredSecret
from webhooks.inbox.secrets.uses import Named

NOTED_SECONDS = 60.0
"""A secret's last use is written so often at most."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Held:
    """A stored secret, as it was last read."""

    value: str = field(repr=False)
    ends_at: float | None
    """By the monotonic clock."""


class CurrentSecrets(Mapping[str, Sequence[str]]):
    """Each source's current secrets. `start` and `stop` frame the thread that reads the stored ones."""

    def __init__(self, from_environment: Mapping[str, Sequence[str]], *, has_keys: bool) -> None:
        self._environment = from_environment
        self._has_keys = has_keys
        self._held: dict[str, list[_Held]] = {}
        self._used: dict[Named, float] = {}
        self._noted: dict[Named, tuple[float, float]] = {}
        """Of each use that was written: when it was, and when it was written."""
        self._known: set[Named] = set()
        self._reported: set[str] = set()
        self.faults: list[str] = []
        """What is wrong with them now, in sentences without a full stop."""
        self._refreshed = Refreshed("source secrets", self._read, then=self._note)

    def __getitem__(self, source: str) -> Sequence[str]:
        given = self._environment[source]
        held = self._held.get(source)
        if not held:
            return given
        now = time.monotonic()
        return [*given, *(one.value for one in held if one.ends_at is None or one.ends_at > now)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environment)

    def __len__(self) -> int:
        return len(self._environment)

    @property
    def are_known(self) -> bool:
        """Whether a signature that none of them made is wrong: false while stored ones may exist and were not read.

        Without the thread, in a server that is not `manage.py receiver`, the environment's are all that there are.
        """
        return not self._has_keys or not self._refreshed.is_awaited

    def start(self) -> None:
        """Read the stored secrets, and again every second."""
        self._refreshed.start()

    def stop(self) -> None:
        self._refreshed.stop()

    def note_use(self, source: str, fingerprint: str) -> None:
        """Note that a secret has matched. On every request: it costs one entry in memory."""
        self._used[source, fingerprint] = time.monotonic()

    def seconds_left(self) -> dict[str, float]:
        """Return in how many seconds each source's last secret ends; 0 if it has none, no entry if one never ends."""
        now = time.monotonic()
        found = {source: self._ends(source) for source, given in self._environment.items() if not given}
        return {
            source: max(0.0, max((end - now for end in ends if end is not None), default=0.0))
            for source, ends in found.items()
            if None not in ends
        }

    def _ends(self, source: str) -> list[float | None]:
        return [one.ends_at for one in self._held.get(source, ())]

    def _read(self) -> list[StoredSecret]:
        began = time.monotonic()
        stored = reading.stored_secrets()
        held: dict[str, list[_Held]] = {}
        for one in stored:
            if one.value is not None and one.source in self._environment:
                ends_at = None if one.seconds_left is None else began + one.seconds_left
                held.setdefault(one.source, []).append(_Held(one.value, ends_at))
        self._held = held
        self._report(stored)
        return stored

    def _note(self, stored: Iterable[StoredSecret]) -> None:
        """Write which secrets this receiver has, and when they last matched."""
        have = [(one.source, one.fingerprint) for one in stored if one.value is not None]
        new = {*reading.environment_secrets(), *have} - self._known
        if new:
            uses.note_known(sorted(new))
            self._known |= new
        now = time.monotonic()
        due = {named: at for named, at in list(self._used.items()) if self._is_due(named, at, now)}
        uses.note_used({named: now - at for named, at in due.items()})
        self._noted |= {named: (at, now) for named, at in due.items()}

    def _is_due(self, named: Named, at: float, now: float) -> bool:
        written_of, written_at = self._noted.get(named, (None, -NOTED_SECONDS))
        return at != written_of and now - written_at >= NOTED_SECONDS

    def _report(self, stored: Iterable[StoredSecret]) -> None:
        """Log once what is wrong. What was mended, and goes wrong again, is logged again."""
        unreadable = {
            f"the secret {one.fingerprint} of {one.source} cannot be decrypted: {NO_KEY}"
            for one in stored
            if one.value is None
        }
        without = {f"{source} has no secret: its deliveries are refused" for source in self if not self[source]}
        for fault in sorted((unreadable | without) - self._reported):
            logger.error("source secrets at fault", extra={"reason": fault})
        self._reported = unreadable | without
        self.faults = sorted(self._reported)


class SecretGauges(Collector):
    """Shows when the last secret of a source ends."""

    def __init__(self, secrets: Callable[[], CurrentSecrets]) -> None:
        self._secrets = secrets

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()  # Else the registry collects once while this module is loaded.

    def collect(self) -> Iterator[GaugeMetricFamily]:
        secrets = self._secrets()
        gauge = GaugeMetricFamily(
            "hookline_secret_expires_seconds",
            "In how many seconds the last secret of a source ends; 0 if it has none. Not shown if one never ends.",
            labels=["source"],
        )
        for source, seconds in secrets.seconds_left().items() if secrets.are_known else ():
            gauge.add_metric([source], seconds)
        yield gauge
