"""The system check of the connection to the broker. Every command of Hookline prints its warning at the start."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register


@register("webhooks")
def check_broker_tls(app_configs: Any = None, **_options: Any) -> list[CheckMessage]:
    if not settings.HOOKLINE_BROKER_HAS_TLS or settings.HOOKLINE_BROKER_TLS_VERIFY:
        return []
    return [
        Warning(
            "The broker's certificate is not verified: a third party in the network can read and change every message.",
            hint="Set HOOKLINE_BROKER_CA_FILE to its authority's certificate, and unset HOOKLINE_BROKER_TLS_VERIFY.",
            id="webhooks.W010",
        )
    ]
