"""Asking probes in tests."""

import json
import re
from typing import Any

import urllib3

http = urllib3.PoolManager(maxsize=16, retries=False)


class Probed:
    """A process that answers probes, by its port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def status(self, path: str) -> int:
        """Return the status of a page; 0 if there is no answer."""
        try:
            return http.request("GET", f"http://127.0.0.1:{self.port}{path}", timeout=5).status
        except urllib3.exceptions.HTTPError:
            return 0

    def faults(self, path: str) -> list[str]:
        answer: dict[str, Any] = json.loads(self._read(path))
        return list(answer["faults"])

    def metric(self, sample: str) -> float | None:
        """Return the value of a sample, written as in Prometheus' text; None if it is not there."""
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self._read("/metrics"), re.MULTILINE)
        return float(found[1]) if found else None

    def is_live(self) -> bool:
        return self.status("/livez") == 200

    def is_ready(self) -> bool:
        return self.status("/readyz") == 200

    def _read(self, path: str) -> str:
        return http.request("GET", f"http://127.0.0.1:{self.port}{path}", timeout=5).data.decode()
