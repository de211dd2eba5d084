"""`manage.py flower`: becomes Flower, for who signs in. `workers/flower_settings.py` has its options."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from webhooks.listening import cannot_listen, try_port
from workers import flower_access

OPTIONS_FILE = settings.BASE_DIR / "workers" / "flower_settings.py"


class Command(BaseCommand):
    help = "Run Flower, the view of Celery's workers, behind the operator's password or an identity provider."

    def handle(self, *_args: Any, **_options: Any) -> None:
        if fault := flower_access.fault():
            raise CommandError(fault)
        try:
            try_port(settings.HOOKLINE_HOST, settings.HOOKLINE_FLOWER_PORT)
        except OSError as error:
            raise CommandError(cannot_listen(error, variable="HOOKLINE_FLOWER_PORT")) from None
        # This variable would open Flower's API to everybody if nothing else protected it: always drop it.
        environment = {name: value for name, value in os.environ.items() if name != "FLOWER_UNAUTHENTICATED_API"}
        os.execve(sys.executable, flower_command(), environment)  # noqa: S606


def flower_command() -> list[str]:
    """Return the command line, which shows no secret."""
    celery = [sys.executable, "-m", "workers", "--app=project", f"--workdir={settings.BASE_DIR}"]
    return [*celery, "flower", f"--conf={OPTIONS_FILE}"]
