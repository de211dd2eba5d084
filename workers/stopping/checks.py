"""System checks of a worker's times, each of one sentence; workers also log them at their start."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.subscription import Subscriptions
from workers.stopping.times import LONGEST_MARGIN_SECONDS, SHORTEST_LIFETIME_SECONDS, margin_seconds


@register("workers")
def check_times(app_configs: Any = None, **_options: Any) -> list[CheckMessage]:
    return [
        *lifetime_warnings(settings.HOOKLINE_WORKER_MAX_SECONDS),
        *grace_warnings(installed_subscriptions(), grace_seconds=settings.HOOKLINE_GRACE_SECONDS),
    ]


def lifetime_warnings(seconds: float) -> Iterator[CheckMessage]:
    """Yield a warning if a lifetime is shorter than Kubernetes may wait before it starts the worker again."""
    if 0 < seconds < SHORTEST_LIFETIME_SECONDS:
        yield Warning(
            f"HOOKLINE_WORKER_MAX_SECONDS is {seconds:g}: Kubernetes backs off on every exit, so workers that exit so "
            "often are started again minutes later.",
            hint=f"Set {SHORTEST_LIFETIME_SECONDS:g} or more, or 0 for never.",
            id="workers.W001",
        )


def grace_warnings(subscriptions: Subscriptions, *, grace_seconds: float) -> Iterator[CheckMessage]:
    """Yield a warning if a handler may run for longer than a stop waits for it."""
    longest = max(subscriptions, key=lambda subscription: subscription.time_limit, default=None)
    waits_seconds = grace_seconds - margin_seconds(grace_seconds)
    if longest is not None and longest.time_limit > waits_seconds:
        yield Warning(
            f"Subscription {longest.name!r} may run for {longest.time_limit:g} s, and a worker that stops interrupts "
            f"and hands back what still runs after {waits_seconds:.3g} s.",
            hint=f"Set HOOKLINE_GRACE_SECONDS, now {grace_seconds:g}, to "
            f"{longest.time_limit + LONGEST_MARGIN_SECONDS:g} or more.",
            id="workers.W002",
        )
