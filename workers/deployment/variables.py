"""Rules on what the programs get: their role, their variables, and the queues in their arguments."""

import re
from collections.abc import Iterator

from workers.deployment.deployed import DEFAULTS, Deployed, Rule, number
from workers.deployment.manifests import ROLES, Workload, of_no_role

OF_ALL_ROLES = (
    *("HOOKLINE_APPS", "HOOKLINE_ENCRYPT_PAYLOADS", "HOOKLINE_REDACT", "HOOKLINE_SOURCES", "HOOKLINE_TIME_LIMIT"),
)
"""Variables that must be the same in all roles: one role writes to the inbox what another one has to do."""


def unknown_programs(deployed: Deployed) -> Iterator[str]:
    for manifest, name in of_no_role(deployed.manifests):
        yield (
            f"{manifest}: its container {name} has Hookline's image, and nothing of it is checked, for its command and "
            f"args name none of {', '.join(ROLES)} after manage.py; write them so, without a shell."
        )


def unreadable_values(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.workloads:
        for name in sorted(DEFAULTS.keys() & workload.variables.keys()):
            if number(workload.variables[name]) is None:
                yield f"{workload}: {name} is {workload.variables[name]!r}, which is no number; correct it."


def unknown_variables(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.workloads:
        for name in sorted(name for name in workload.variables if name.startswith("HOOKLINE_")):
            if not {name, name.removesuffix("_FILE")} & deployed.around.variables:
                yield f"{workload}: no setting of Hookline is named {name}; docs/configuration.md lists those that are."


def differing_variables(deployed: Deployed) -> Iterator[str]:
    running = list(deployed.running("receiver", "relay", "reconcile", "worker"))
    for name in OF_ALL_ROLES:
        given = {workload.variables.get(name, "") for workload in running}
        if len(given) > 1:
            yield (
                f"{name} is not the same in all of receiver, relay, reconcile and worker, so they differ on which jobs "
                f"to run, for how long, or on what is stored; set it in the ConfigMap that all of them read."
            )


def unmigrated_apps(deployed: Deployed) -> Iterator[str]:
    workers = {app for workload in deployed.running("worker") for app in _apps(workload)}
    for workload in deployed.running("migrate"):
        for app in sorted(workers - _apps(workload)):
            yield (
                f"{workload}: its HOOKLINE_APPS lacks {app}, which the workers have, so that the tables of its models "
                f"are not made; set HOOKLINE_APPS in the image, or in this Job as well."
            )


def _apps(workload: Workload) -> set[str]:
    return {name.strip() for name in re.split(r"[,\n]", workload.variables.get("HOOKLINE_APPS", ""))} - {""}


def unseen_apps(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("worker"):
        for app in sorted(_apps(workload) - deployed.around.apps):
            yield (
                f"{workload}: HOOKLINE_APPS names {app}, which is not installed here, so that the limits of its "
                f"handlers are not known; run this check with the same HOOKLINE_APPS."
            )


def unknown_queues(deployed: Deployed) -> Iterator[str]:
    known = {deployed.around.default_queue, *(one.queue for one in deployed.around.subscriptions)}
    for workload in deployed.running("worker"):
        for queue in sorted((workload.queues or frozenset()) - known):
            yield f"{workload}: no handler uses the queue {queue!r}, so that its workers refuse to start; drop it."


def unserved_queues(deployed: Deployed) -> Iterator[str]:
    pools = [workload.queues for workload in deployed.running("worker")]
    if not pools or None in pools:
        return
    served = frozenset().union(*(queues for queues in pools if queues))
    for queue in sorted({one.queue for one in deployed.around.subscriptions} - served):
        yield f"No worker consumes the queue {queue!r}, whose jobs would wait for ever; add it to some pool's --queues."


def unwatched_logs(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running("reconcile"):
        if workload.manifest.kind != "Job" and "--watch" not in workload.arguments:
            yield (
                f"{workload}: it reads GitHub's log once and exits, and is started again at growing intervals; add "
                f"--watch to its args, or make it a Job."
            )


RULES: tuple[Rule, ...] = (
    unknown_programs,
    unreadable_values,
    unknown_variables,
    differing_variables,
    unmigrated_apps,
    unseen_apps,
    unwatched_logs,
    unknown_queues,
    unserved_queues,
)
