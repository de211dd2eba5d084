"""The RSGI application: what `manage.py receiver` serves. It reads bodies and hands whole requests to the WSGI one."""

from django.conf import settings

from project.wsgi import application as wsgi_application
from webhooks.receiver.connections import Connections
from webhooks.receiver.front import Front
from webhooks.receiver.views import rules

application = Front(
    wsgi_application,
    rules=rules,
    threads=settings.HOOKLINE_RECEIVER_THREADS,
    body_seconds=settings.HOOKLINE_BODY_SECONDS,
    connections=Connections(settings.HOOKLINE_PORT),
)
