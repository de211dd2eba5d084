"""Who may call the API: by a token, with the rights that the token's user has at that moment.

A browser's session opens nothing here, so no other site can make a browser ask; a CSRF token is not needed.
"""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import Error
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from webhooks.console.roles import may_see_payloads
from webhooks.inbox import database, tokens
from webhooks.models import Token

VERSION = 1
"""Of the API, in each answer: by it a client knows that it speaks with Hookline."""
RETRY_SECONDS = 10

logger = logging.getLogger(__name__)

View = Callable[..., HttpResponse]


def answer(status: int, body: dict[str, Any], **headers: str) -> JsonResponse:
    return JsonResponse({"hookline": VERSION, **body}, status=status, headers=headers)


def refusal(status: int, sentence: str, **headers: str) -> JsonResponse:
    return answer(status, {"error": sentence}, **headers)


def for_tokens(view: View) -> View:
    """Make a view one of the API's: by GET, with a token of somebody who may see payloads. It gets the token."""

    @csrf_exempt
    @never_cache
    @wraps(view)
    def guarded(request: HttpRequest, *arguments: Any, **values: Any) -> HttpResponse:
        if request.method != "GET":
            return refusal(405, "Only GET is answered here.", Allow="GET")
        try:
            token = tokens.recognised(_given(request))
            if not may_see_payloads(token.user):
                return refusal(403, f"{token.user.get_username()} may not see payloads here.")
            return view(request, token, *arguments, **values)
        except tokens.TokenRefusedError as error:
            return refusal(401, str(error), **{"WWW-Authenticate": "Bearer"})
        except Error as error:
            if not database.is_outage(error):
                raise
            logger.warning("the API waits for the database", extra={"reason": database.reason(error)})
            database.drop()
            return refusal(503, f"The database {database.reason(error)}.", **{"Retry-After": str(RETRY_SECONDS)})

    return guarded


def _given(request: HttpRequest) -> str:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise tokens.TokenRefusedError("Give a token of yours: Authorization: Bearer hookline_…")
    return text.strip()


def name_of(token: Token) -> str:
    """Return who takes something, for the audit."""
    return f"with token {token.pk} “{token.name}”"
