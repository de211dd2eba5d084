"""The end of a process by a thread that has failed, taken in its place by a test."""

import threading

import pytest


class ProcessEnd:
    """What the process would have ended with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, has_come: threading.Event | None = None) -> None:
        """`has_come` is set by it, if a test has an event that is to be."""
        self.statuses: list[int] = []
        self.has_come = has_come or threading.Event()
        monkeypatch.setattr("webhooks.threads.os._exit", self._take)

    def _take(self, status: int) -> None:
        self.statuses.append(status)
        self.has_come.set()
