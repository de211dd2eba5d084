"""Tokens of installations: one an hour for all processes of a worker, kept until shortly before it ends.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation
"""

from collections.abc import AsyncGenerator, Generator
from datetime import datetime
from typing import Any

import httpx
from githubkit import AppAuthStrategy
from githubkit.auth import BaseAuthStrategy
from jwt import PyJWTError

from webhooks.github_api.access import AppAccess
from webhooks.github_api.budget import date_of
from webhooks.github_api.kit import client
from webhooks.github_api.sharing import Shared
from webhooks.subscriptions.event import NoGitHubAccess

EARLY_SECONDS = 300.0
"""A token is not used in its last minutes: a run may hold it for a while."""
_KIND = "token"


class TokenError(Exception):
    """GitHub gives no token. The message says why, and shows no credential."""


class Tokens:
    """The token of one installation. Its calls go through `transport`."""

    def __init__(self, app: AppAccess, installation_id: int, *, transport: httpx.BaseTransport, shared: Shared) -> None:
        self._app, self._installation, self._transport, self._shared = app, installation_id, transport, shared
        self._name = f"{app.api_url} {app.app_id} {installation_id}"

    def get(self) -> str:
        """Return the token that there is, or a new one: of all processes that want one, the first asks for it."""
        if (found := self._kept()) is not None:
            return found
        with self._shared.alone(self._name):
            if (found := self._kept()) is not None:
                return found
            token, seconds = self._new()
            self._shared.put(_KIND, self._name, token.encode(), seconds=seconds)
            return token

    def forget(self, token: str) -> None:
        """GitHub accepts it no more."""
        if self._kept() == token:
            self._shared.remove(_KIND, self._name)

    def _kept(self) -> str | None:
        found = self._shared.get(_KIND, self._name)
        return None if found is None else found.decode()

    def _new(self) -> tuple[str, float]:
        app = self._app
        try:
            auth = AppAuthStrategy(app.app_id, app.private_key).get_auth_flow(client(None, app.api_url))
            with httpx.Client(transport=self._transport, auth=auth, base_url=app.api_url) as http:
                response = http.post(f"/app/installations/{self._installation}/access_tokens", json={})
        except (ValueError, TypeError, PyJWTError) as error:  # As the key is read to sign with it.
            raise TokenError(f"The App's key cannot be used ({type(error).__name__}).") from None
        where = f"a token of installation {self._installation} ({app.source})"
        if response.status_code == httpx.codes.NOT_FOUND:
            raise NoGitHubAccess(f"GitHub has no such installation of this App: it answers 404 to a call for {where}.")
        if response.status_code != httpx.codes.CREATED:
            raise TokenError(f"GitHub answers {response.status_code} to a call for {where}.")
        return _read(response, where)


def _read(response: httpx.Response, where: str) -> tuple[str, float]:
    try:
        content = response.json()
        ends_at = datetime.fromisoformat(content["expires_at"])
        return str(content["token"]), (ends_at - date_of(response.headers)).total_seconds() - EARLY_SECONDS
    except (ValueError, KeyError, TypeError):
        raise TokenError(f"GitHub answers with what is no token to a call for {where}.") from None


class AsInstallation(BaseAuthStrategy):
    """Signs calls with the installation's token. Unlike the library's own, its repr shows no key."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def get_auth_flow(self, github: Any) -> httpx.Auth:
        return _Flow(self._tokens)


class _Flow(httpx.Auth):
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._tokens.get()
        request.headers["Authorization"] = f"token {token}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            # Revoked before its end, as after a change of the App's permissions.
            self._tokens.forget(token)
            request.headers["Authorization"] = f"token {self._tokens.get()}"
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        raise RuntimeError("run.github is for synchronous calls: a handler is a synchronous function.")
        yield request  # So that it is a generator, as the library wants it.
