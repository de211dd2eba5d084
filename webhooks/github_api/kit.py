"""Makes clients of githubkit, for the reconciler and for handlers: with one set of options.

Its own retries may sleep for an hour, its HTTP cache has no limit, and it fails at a Retry-After that is no number:
they are not used. It takes some 40 MB and a second to import: nobody imports this module before a call is wanted.
"""

from typing import Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from githubkit import GitHub
from githubkit.auth import BaseAuthStrategy
from githubkit.cache import MemCacheStrategy
from githubkit.exception import GitHubException, RequestError


def client(
    auth: BaseAuthStrategy | None,
    api_url: str,
    *,
    timeout: httpx.Timeout | None = None,
    transport: httpx.BaseTransport | None = None,
) -> GitHub[Any]:
    """Return a client. Calls go through `transport`, or over the network as the environment's proxies say."""
    return GitHub(
        auth,
        base_url=api_url,
        user_agent="hookline",
        timeout=timeout,
        # Its own: in the library's common one, Apps of the same number on two GitHubs would share their tokens.
        cache_strategy=MemCacheStrategy(),
        http_cache=False,
        auto_retry=_never,
        transport=transport,
    )


def _never(error: GitHubException, _count: int) -> NoReturn:
    """Raise what ended a call. What is no fault of the call, such as a time limit's signal, comes out as it is."""
    if isinstance(error, RequestError) and not isinstance(error.exc, httpx.HTTPError):
        raise error.exc from None
    raise error


def wire(api_url: str) -> httpx.BaseTransport:
    """Return the connections to an API, through the proxy that HTTPS_PROXY and NO_PROXY name for it."""
    address = urlsplit(api_url)
    proxy = None if proxy_bypass(address.netloc) else getproxies().get(address.scheme)
    return httpx.HTTPTransport(proxy=proxy)
