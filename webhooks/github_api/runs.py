"""The door to GitHub's API for a run. The client behind it is loaded at its first use: most runs need none."""

import json
import logging
from typing import Any

from django.conf import settings

from webhooks import recorded_calls
from webhooks.github_api.access import AppAccess, api_url_of, app_of
from webhooks.github_api.budget import Seen
from webhooks.github_api.meter import Meter
from webhooks.github_api.sharing import shared
from webhooks.source_secrets import APP_ID, APP_PRIVATE_KEY, variable_of
from webhooks.subscriptions.event import NoGitHubAccess

LONGEST_SUMMARY = 300

logger = logging.getLogger(__name__)


class ApiOfRun:
    """What `run.github` opens, and what became known of the rate limit."""

    def __init__(
        self, source: str, installation_id: int | None, *, is_replay: bool, until: float, may_lack_key: bool = False
    ) -> None:
        """`until` is when the run has to end, by the machine's monotonic clock.

        With `may_lack_key`, calls that are recorded need no App's key: what is public can be read without.
        """
        self._source, self._installation = source, installation_id
        self._is_replay, self._until, self._may_lack_key = is_replay, until, may_lack_key
        self._meter: Meter | None = None
        self._client: Any = None

    def open(self) -> Any:
        """Return the client. Raises NoGitHubAccess."""
        if self._client is None:
            self._client = self._made()
        return self._client

    @property
    def seen(self) -> Seen | None:
        """What the answers have said of the installation's limit; None if there were none."""
        return self._meter.seen if self._meter else None

    def _made(self) -> Any:
        is_recorded = settings.HOOKLINE_GITHUB_WRITES == "record"
        if is_recorded and self._may_lack_key:
            return self._recording()
        app, installation = self._allowed()
        if is_recorded:
            return self._recording()
        from webhooks.github_api.client import client_of

        self._meter = Meter(self._source, installation, keeps_reserve=self._is_replay, shared=shared())
        return client_of(app, installation, meter=self._meter, until=self._until, shared=shared())

    def _recording(self) -> Any:
        """Return a client that reads, as the App if this process has its key, and whose writes are written down."""
        from webhooks.github_api.recording import Call, recording_client

        url = api_url_of(self._source)

        def record(call: Call) -> None:
            text = "" if call.content is None else json.dumps(call.content)
            said = {"method": call.method, "url": f"{url}{call.path}"}
            recorded_calls.note(**said, summary=text[:LONGEST_SUMMARY])
            logger.info("call of GitHub's API recorded, not sent", extra=said)

        return recording_client(self._source, self._installation, api_url=url, record=record).client

    def _allowed(self) -> tuple[AppAccess, int]:
        app = app_of(self._source)
        if app is None:
            names = " and ".join(variable_of(self._source, name) for name in (APP_ID, APP_PRIVATE_KEY))
            raise NoGitHubAccess(f"run.github needs {names}, and this process is not given them.")
        if self._installation is None:
            raise NoGitHubAccess("run.github needs an installation, and this event names none: it is no App's hook.")
        return app, self._installation
