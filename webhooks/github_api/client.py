"""Makes the client of one run: tokens, conditional requests, limits and retries, one above the other."""

from functools import cache, partial
from typing import Any

import httpx
from githubkit import GitHub

from webhooks.github_api.access import AppAccess
from webhooks.github_api.answers import Answers
from webhooks.github_api.kit import client, wire
from webhooks.github_api.meter import Meter
from webhooks.github_api.sharing import Shared
from webhooks.github_api.tokens import AsInstallation, Tokens
from webhooks.github_api.transport import Kept, Patient


def client_of(app: AppAccess, installation_id: int, *, meter: Meter, until: float, shared: Shared) -> GitHub[Any]:
    """Return a client for an installation, for a run that ends at `until` by the monotonic clock."""
    host = httpx.URL(app.api_url).host
    patient = Patient(connections(app.api_url), meter=meter, host=host, until=until)
    auth = AsInstallation(Tokens(app, installation_id, transport=patient, shared=shared))
    whose = f"{app.api_url} {app.app_id} {installation_id}"
    return client(auth, app.api_url, transport=Answers(patient, whose=whose, shared=shared))


@cache
def connections(api_url: str) -> Kept:
    """Return this process's connections to an API: runs use them one after another."""
    return Kept(partial(wire, api_url))
