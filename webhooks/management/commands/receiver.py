"""`manage.py receiver`: serves the webhooks, the probes and the admin, under Granian."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from webhooks.listening import address_of, cannot_listen, try_port
from webhooks.receiver.server import serve


class Command(BaseCommand):
    help = "Serve webhooks, probes and the admin until SIGTERM."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            # Without this check Granian would end in a panic. Several Granian processes may share a port.
            address = address_of(settings.HOOKLINE_HOST)
            try_port(address, settings.HOOKLINE_PORT, is_shared=True)
        except OSError as error:
            raise CommandError(cannot_listen(error, variable="HOOKLINE_PORT")) from None
        serve(address)
