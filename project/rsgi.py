"""The RSGI application: what `manage.py receiver` serves. It takes in webhooks, and hands pages to the WSGI one."""

from functools import partial

from django.conf import settings

from project.wsgi import application as wsgi_application
from webhooks.receiver.answer_counts import AnswerCounts
from webhooks.receiver.connections import Connections
from webhooks.receiver.front import Front
from webhooks.receiver.views import deliveries, destinations, hook_addresses, rules, secrets
from webhooks.traces.spans import start as start_spans

application = Front(
    wsgi_application,
    rules=rules,
    deliveries=deliveries,
    body_seconds=settings.HOOKLINE_BODY_SECONDS,
    connections=Connections(settings.HOOKLINE_PORT),
    started=partial(start_spans, "receiver") if settings.HOOKLINE_TRACES else lambda: None,
    answers=AnswerCounts(),
    beside=(secrets(), destinations(), hook_addresses()),
)
