"""Rules on time: a pod's grace and how long its program needs to stop; the broker's timeouts and handlers' limits."""

from collections.abc import Iterator
from dataclasses import replace

from webhooks.stop_times import RECONCILER_STOP_SECONDS
from webhooks.subscriptions.subscription import Subscriptions
from workers.deployment.deployed import Deployed, Rule, value
from workers.deployment.manifests import Workload
from workers.stopping.times import LONGEST_MARGIN_SECONDS, SHORTEST_LIFETIME_SECONDS, margin_seconds

KILL_MARGIN_SECONDS = 5.0
"""From the moment by which a process must have ended until SIGKILL."""
PROPAGATION_SECONDS = 5.0
"""How long Services and ingresses may still send to a pod after it is known not to be ready."""
CONSUMER_MARGIN_SECONDS = 60.0


def unknown_hook_times(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.workloads:
        if workload.pre_stop_seconds is None:
            yield (
                f"{workload}: how long its preStop hook takes is unknown, and SIGTERM waits for it; make it a sleep, "
                f"or remove it."
            )


def worker_grace(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("worker"):
        grace, before = value(workload, "HOOKLINE_GRACE_SECONDS"), workload.pre_stop_seconds or 0.0
        needed = before + grace + KILL_MARGIN_SECONDS
        if workload.grace_seconds < needed:
            yield (
                f"{workload}: SIGKILL comes {workload.grace_seconds:g} s after the stop began, before a worker with "
                f"HOOKLINE_GRACE_SECONDS={grace:g} has handed back its jobs; set terminationGracePeriodSeconds to "
                f"{needed:g} or more{_part_of_hook(before)}."
            )


def _part_of_hook(before: float) -> str:
    return f" (its preStop hook takes {before:g} of them)" if before else ""


def handler_limits(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("worker"):
        name, limit = deployed.longest(workload)
        grace = value(workload, "HOOKLINE_GRACE_SECONDS")
        waits = grace - margin_seconds(grace)
        if limit > waits:
            yield (
                f"{workload}: {name} may run for {limit:g} s, and a worker that stops interrupts it after "
                f"{waits:g} s; set HOOKLINE_GRACE_SECONDS to {limit + LONGEST_MARGIN_SECONDS:g} or more and "
                f"terminationGracePeriodSeconds above it, or lower the handler's time limit."
            )


def worker_lifetime(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("worker"):
        seconds = value(workload, "HOOKLINE_WORKER_MAX_SECONDS")
        if 0 < seconds < SHORTEST_LIFETIME_SECONDS:
            yield (
                f"{workload}: with HOOKLINE_WORKER_MAX_SECONDS={seconds:g} Kubernetes takes its planned restarts for "
                f"crashes, and waits longer before each; set {SHORTEST_LIFETIME_SECONDS:g} or more, or 0 for none."
            )


def receiver_grace(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("receiver"):
        drain, body = value(workload, "HOOKLINE_DRAIN_SECONDS"), value(workload, "HOOKLINE_BODY_SECONDS")
        before = workload.pre_stop_seconds or 0.0
        needed = before + drain + body + deployed.around.receiver_margin_seconds + KILL_MARGIN_SECONDS
        if workload.grace_seconds < needed:
            yield (
                f"{workload}: SIGKILL comes {workload.grace_seconds:g} s after the stop began, when a receiver may "
                f"still be draining ({drain:g} s) or reading a body ({body:g} s); set terminationGracePeriodSeconds to "
                f"{needed:g} or more{_part_of_hook(before)}."
            )


def reconciler_grace(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("reconcile"):
        needed = (workload.pre_stop_seconds or 0.0) + RECONCILER_STOP_SECONDS + KILL_MARGIN_SECONDS
        if workload.grace_seconds < needed:
            yield (
                f"{workload}: SIGKILL comes {workload.grace_seconds:g} s after the stop began, when a reconciler may "
                f"still wait for GitHub's answer, and then nobody reads its log for some minutes; set "
                f"terminationGracePeriodSeconds to {needed:g} or more."
            )


def receiver_drain(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("receiver"):
        drain, before = value(workload, "HOOKLINE_DRAIN_SECONDS"), workload.pre_stop_seconds or 0.0
        probe = workload.probe("readinessProbe")
        if probe is None:
            continue
        needed = probe.patience_seconds + PROPAGATION_SECONDS
        if drain + before < needed:
            yield (
                f"{workload}: it stops listening {drain + before:g} s after the stop began, while its readiness probe "
                f"takes {probe.patience_seconds:g} s to fail, and Services some more to stop sending; set "
                f"HOOKLINE_DRAIN_SECONDS to {needed:g} or more, or probe more often."
            )


def consumer_timeout(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("worker"):
        name, limit = deployed.longest(workload)
        timeout = deployed.around.consumer_timeout_seconds
        if not _may_use(workload, "amqp") or limit + CONSUMER_MARGIN_SECONDS <= timeout:
            continue
        yield (
            f"{workload}: a message may wait for {name} to end, {limit:g} s, before it is acknowledged, and RabbitMQ "
            f"ends consumers after {timeout:g} s; set its consumer_timeout to {limit + CONSUMER_MARGIN_SECONDS:g} s or "
            f"more, or give the handler's queue a pool of its own."
        )


def visibility_timeout(deployed: Deployed) -> Iterator[str]:
    pools = [workload for workload in deployed.running("worker") if _may_use(workload, "redis")]
    limits = [(*deployed.longest(workload), workload) for workload in pools]
    if not limits:
        return
    name, longest, slowest = max(limits, key=lambda limit: limit[1])
    for workload in pools:
        seconds = deployed.around.visibility_seconds(_under(deployed, workload))
        if seconds <= longest:
            yield (
                f"{workload}: on Redis it takes back what another worker has held for {seconds:g} s, and {name} may "
                f"hold a message of {slowest.manifest.name} for {longest:g} s; give both the same HOOKLINE_TIME_LIMIT."
            )


def _under(deployed: Deployed, workload: Workload) -> Subscriptions:
    return Subscriptions(
        replace(one, time_limit=deployed.limit(one, workload)) for one in deployed.around.subscriptions
    )


def _may_use(workload: Workload, scheme: str) -> bool:
    """Tell whether its broker is, or may be, of that kind: often the URL is in a Secret and not known here."""
    url = workload.variables.get("BROKER_URL", "")
    return not url or url.startswith(scheme)


RULES: tuple[Rule, ...] = (
    unknown_hook_times,
    worker_grace,
    handler_limits,
    worker_lifetime,
    receiver_grace,
    reconciler_grace,
    receiver_drain,
    consumer_timeout,
    visibility_timeout,
)
