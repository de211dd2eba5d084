"""The receiver's pages: webhooks, probes, metrics."""

import asyncio
import contextlib
import logging
import threading
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import REGISTRY, Gauge

from webhooks.exposition import exposition
from webhooks.inbox.committer import Committer, InboxUnavailableError
from webhooks.inbox.destinations import known
from webhooks.inbox.refreshed import Refreshed
from webhooks.inbox.store import try_to_store
from webhooks.publishing.publisher import Publisher
from webhooks.receiver import readiness
from webhooks.receiver.current_secrets import CurrentSecrets, SecretGauges
from webhooks.receiver.deliveries import Deliveries
from webhooks.receiver.hook_addresses import HookAddresses
from webhooks.receiver.intake import Rules, check_head, receive
from webhooks.receiver.replies import RefusedError, Reply
from webhooks.subscriptions.installed import installed_subscriptions

DATABASE_AVAILABLE = Gauge("hookline_receiver_database_available", "Whether the last try on the database succeeded.")
BROKER_AVAILABLE = Gauge("hookline_receiver_broker_available", "Whether the last try on the broker succeeded.")
STOPPING = Gauge("hookline_receiver_stopping", "Whether this receiver has been asked to stop.")
FRESH_SECONDS = 1.0
"""So long after a commit, the database counts as available without a check."""
CHECK_SECONDS = 0.5
"""How long a probe waits for the database, which may not answer at all."""

logger = logging.getLogger(__name__)


@cache
def secrets() -> CurrentSecrets:
    return CurrentSecrets(settings.HOOKLINE_SECRETS, has_keys=bool(settings.HOOKLINE_ENCRYPTION_KEYS))


REGISTRY.register(SecretGauges(secrets))


@cache
def destinations() -> Refreshed[bool]:
    return Refreshed("destinations", known.refresh)


@cache
def hook_addresses() -> HookAddresses:
    return HookAddresses(settings.HOOKLINE_HOOK_ADDRESSES, proxies=settings.HOOKLINE_TRUSTED_PROXIES)


@cache
def rules() -> Rules:
    return Rules(
        secrets=secrets(),
        are_secrets_known=lambda: secrets().are_known,
        are_subscriptions_known=lambda: not destinations().is_awaited,
        note_use=secrets().note_use,
        refuses_sender=hook_addresses().refuses,
        fingerprint_key=settings.SECRET_KEY,
        subscriptions=installed_subscriptions(),
        max_body_bytes=settings.HOOKLINE_MAX_BODY_MB * 1024 * 1024,
    )


@cache
def committer() -> Committer:
    # SQLite allows one writer at a time. With one thread, writers wait in this process's queue, which is fair.
    is_sqlite = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
    return Committer(threads=1 if is_sqlite else settings.HOOKLINE_RECEIVER_THREADS)


@cache
def publisher() -> Publisher:
    return Publisher()


def deliveries(loop: asyncio.AbstractEventLoop) -> Deliveries:
    return Deliveries(
        loop, rules=rules, committer=committer, publisher=publisher, threads=settings.HOOKLINE_RECEIVER_THREADS
    )


def webhook(request: HttpRequest, source: str) -> HttpResponse:
    """Receive one delivery."""
    try:
        return _response(_reply(request, source))
    except RefusedError as refused:
        return _response(refused.reply)
    except Exception:
        # The sender reads JSON. Nothing is acknowledged, so that the delivery can be sent again.
        logger.exception("delivery failed", extra={"guid": request.headers.get("X-GitHub-Delivery", "")})
        return _response(RefusedError(500, "The delivery could not be received; the receiver's log says why.").reply)


def _reply(request: HttpRequest, source: str) -> Reply:
    # The front has checked this too, before it read the body. But this view may also be called without the front.
    peer = request.META.get("REMOTE_ADDR", "")
    check_head(request.method or "", source, request.headers, rules(), peer=peer)
    return receive(source, request.headers, request.body, rules=rules(), committer=committer(), publisher=publisher())


def livez(_request: HttpRequest) -> HttpResponse:
    """Answer that the process serves requests; nothing else is checked."""
    return JsonResponse({"status": "live"})


def readyz(_request: HttpRequest) -> HttpResponse:
    """Answer 503 while stopping or not migrated. The body also reports database and broker; the status ignores them.

    Otherwise one short outage would take every receiver out of service, and GitHub would get the ingress's error
    instead of the receiver's 503.
    """
    faults = readiness.faults(committer())
    _check_database()
    body = {
        "status": "not ready" if faults else "ready",
        "faults": faults,
        "database": _in_words(committer().is_available),
        "broker": _in_words(publisher().is_available),
        "reasons": _reasons(),
    }
    return JsonResponse(body, status=503 if faults else 200)


def startupz(_request: HttpRequest) -> HttpResponse:
    """Answer 503 while the database is not migrated."""
    faults = readiness.startup_faults(committer())
    return JsonResponse(
        {"status": "not started" if faults else "started", "faults": faults}, status=503 if faults else 200
    )


def metrics(_request: HttpRequest) -> HttpResponse:
    """Answer in Prometheus' text format."""
    DATABASE_AVAILABLE.set(committer().is_available)
    BROKER_AVAILABLE.set(publisher().is_available)
    STOPPING.set(readiness.stopping.is_set())
    content_type, text = exposition(REGISTRY)
    return HttpResponse(text, content_type=content_type)


def _check_database() -> None:
    """Try to store a delivery, so that the report on the database is current."""
    if committer().is_available and committer().idle_seconds < FRESH_SECONDS:
        return

    def ask() -> None:
        with contextlib.suppress(InboxUnavailableError):
            committer().run(lambda: try_to_store(settings.HOOKLINE_SOURCES[0], list(installed_subscriptions())[:1]))

    thread = threading.Thread(target=ask, name="database-check", daemon=True)
    thread.start()
    thread.join(CHECK_SECONDS)


def _reasons() -> list[str]:
    reasons = {"database": committer().reason, "broker": publisher().reason}
    return [*(f"the {what} {reason}" for what, reason in reasons.items() if reason), *secrets().faults]


def _in_words(is_available: bool) -> str:
    return "available" if is_available else "unavailable"


def _response(reply: Reply) -> HttpResponse:
    return JsonResponse(dict(reply.body), status=reply.status, headers=dict(reply.headers))
