"""The addresses that each source's deliveries may come from: those that are given, and those that its GitHub names.

Off unless GITHUB_HOOK_ADDRESSES says so. A thread reads GitHub's list and keeps the last one while GitHub is away; a
request reads memory. Until the first list is there, deliveries are taken in from any address: their signatures protect
the inbox, and what GitHub has sent must not be lost because its API is away. So this stands beside the signature, and
never in its place.
"""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from webhooks.github import meta
from webhooks.github.meta import MetaError, Network
from webhooks.receiver.sender_address import Address, is_within, sender_address
from webhooks.subscriptions.subscription import Backoff
from webhooks.threads import start_thread

EVERY_SECONDS = 3600.0
"""Without signing in, GitHub answers sixty calls an hour for all that come from one address."""
AGAIN = Backoff(first=60.0, longest=EVERY_SECONDS)
AT_LEAST_SECONDS = 10.0
LINE_SECONDS = 60.0
"""How often a line says of a source that deliveries were refused."""
STOP_SECONDS = 2.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _List:
    """What one GitHub names, as it was last read; None before that."""

    url: str
    sources: list[str] = field(default_factory=list)
    networks: tuple[Network, ...] | None = None
    etag: str = ""
    failures: int = 0
    next_at: float = 0.0


@dataclass(slots=True)
class _Refused:
    """The deliveries of a source that were refused since the last line about them."""

    times: int = 0
    next_line_at: float = 0.0


class HookAddresses:
    """Tells which senders are refused. `start` and `stop` frame the thread that reads the lists, if there are any."""

    def __init__(
        self, allowed: Mapping[str, Mapping[str, Any]], *, proxies: Iterable[str], every_seconds: float = EVERY_SECONDS
    ) -> None:
        """`allowed` has, of each source whose addresses are limited, its `networks` and its `meta_url`, which may be
        empty; `proxies` are the networks of those whose X-Forwarded-For is believed.
        """
        self._proxies = tuple(map(ip_network, proxies))
        self._every_seconds = every_seconds
        self._given = {source: tuple(map(ip_network, one["networks"])) for source, one in allowed.items()}
        self._lists: dict[str, _List] = {}
        for source, one in allowed.items():
            if url := one["meta_url"]:
                self._lists.setdefault(url, _List(url)).sources.append(source)
        self._list_of = {source: one for one in self._lists.values() for source in one.sources}
        self._refused = {source: _Refused() for source in allowed}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Read the lists from now on. Does not wait for them."""
        if self._lists:
            self._stop.clear()
            self._thread = start_thread("hook-addresses", self._run)

    def stop(self) -> None:
        """End the thread; give up on it after STOP_SECONDS."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def refuses(self, source: str, peer: str, forwarded: str) -> bool:
        """Tell whether a delivery of a source is refused for where it comes from, and log it now and then."""
        allowed = self._allowed(source)
        if allowed is None:
            return False
        sender = sender_address(peer, forwarded, proxies=self._proxies)
        if is_within(sender, allowed):
            return False
        self._say(source, sender)
        return True

    def _allowed(self, source: str) -> Sequence[Network] | None:
        """Return the networks of a source; None if it has no limits, or they are not known yet."""
        given, listed = self._given.get(source), self._list_of.get(source)
        if given is None or listed is None:
            return given
        return None if listed.networks is None else (*given, *listed.networks)

    def _say(self, source: str, sender: Address | None) -> None:
        now = time.monotonic()
        with self._lock:
            refused = self._refused[source]
            refused.times += 1
            if now < refused.next_line_at:
                return
            times, refused.times, refused.next_line_at = refused.times, 0, now + LINE_SECONDS
        # As it was parsed: the text of a header may be anything.
        fields = {"source": source, "address": str(sender or "none"), "times": times}
        logger.warning("deliveries refused: not from an address of the source's GitHub", extra=fields)

    def _run(self) -> None:
        while not self._stop.is_set():
            for one in self._lists.values():
                if time.monotonic() >= one.next_at and not self._stop.is_set():
                    self._read(one)
            self._stop.wait(max(0.0, min(one.next_at for one in self._lists.values()) - time.monotonic()))

    def _read(self, one: _List) -> None:
        fields = {"sources": ", ".join(one.sources)}
        try:
            found = meta.read(one.url, etag=one.etag)
        except MetaError as error:
            one.failures += 1
            wait = min(self._every_seconds, AT_LEAST_SECONDS + AGAIN.seconds(one.failures))
            is_first = one.networks is None
            sentence = "hook addresses not known: any is taken" if is_first else "hook addresses stay as last read"
            logger.warning(sentence, extra={**fields, "reason": f"GitHub {error}"})
        else:
            one.failures, wait = 0, self._every_seconds
            if found is not None:
                if found.networks != one.networks:
                    logger.info("hook addresses read", extra={**fields, "networks": len(found.networks)})
                one.networks, one.etag = found.networks, found.etag
        one.next_at = time.monotonic() + wait
