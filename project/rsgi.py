"""The RSGI application: what `manage.py receiver` serves. It reads bodies and hands whole requests to the WSGI one."""

from django.conf import settings

from project.wsgi import application as wsgi_application
from webhooks.connections import Connections
from webhooks.front import Front
from webhooks.views import rules

application = Front(
    wsgi_application,
    rules=rules,
    threads=settings.HOOKLINE_RECEIVER_THREADS,
    body_seconds=settings.HOOKLINE_BODY_SECONDS,
    connections=Connections(settings.HOOKLINE_PORT),
)
