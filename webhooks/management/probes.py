"""Serves the probes and metrics of a process that is no receiver, on a thread."""

import logging

from django.conf import settings
from django.core.management.base import CommandError

from webhooks.listening import cannot_listen
from webhooks.probe_server import Health, ProbeServer

logger = logging.getLogger(__name__)


def serve_probes(probes: Health) -> None:
    """Serve on HOOKLINE_PROBE_PORT. Raises CommandError if that cannot be."""
    try:
        server = ProbeServer.on_first_free(settings.HOOKLINE_PROBE_PORTS, host=settings.HOOKLINE_HOST)
    except OSError as error:
        raise CommandError(cannot_listen(error, variable="HOOKLINE_PROBE_PORT")) from None
    server.health = probes
    server.start()
    logger.info("probes are answered", extra={"port": server.port})
