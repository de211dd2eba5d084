"""The system check of traces. Every command of Hookline prints its warning at the start."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from webhooks.traces.spans import is_installed


@register("webhooks")
def check_traces(app_configs: Any = None, **_options: Any) -> list[CheckMessage]:
    if not settings.HOOKLINE_TRACES or is_installed():
        return []
    return [
        Warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: there are no traces.",
            hint="Install requirements-otel.lock (in the image: EXTRAS=otel), or unset the variable; docs/tracing.md.",
            id="webhooks.W011",
        )
    ]
