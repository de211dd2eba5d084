"""The RSGI application: what `manage.py receiver` serves. It takes in webhooks, and hands pages to the WSGI one."""

from django.conf import settings

from project.wsgi import application as wsgi_application
from webhooks.inbox.destinations import known
from webhooks.receiver.answer_counts import AnswerCounts
from webhooks.receiver.connections import Connections
from webhooks.receiver.front import Front
from webhooks.receiver.views import deliveries, hook_addresses, rules, secrets
from webhooks.traces.spans import start as start_spans


def _start() -> None:
    if settings.HOOKLINE_TRACES:
        start_spans("receiver")
    known.start_watching()


application = Front(
    wsgi_application,
    rules=rules,
    deliveries=deliveries,
    body_seconds=settings.HOOKLINE_BODY_SECONDS,
    connections=Connections(settings.HOOKLINE_PORT),
    started=_start,
    answers=AnswerCounts(),
    beside=(secrets(), hook_addresses()),
)
