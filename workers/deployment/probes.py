"""Rules on probes: they use the paths and ports of the programs, and do not fail too soon."""

from collections.abc import Iterator

from webhooks.paths import LIVEZ, READYZ, STARTUPZ
from workers.deployment.deployed import Deployed, Rule, value
from workers.deployment.manifests import Probe, Workload

PORTS = {
    "receiver": "HOOKLINE_PORT",
    "relay": "HOOKLINE_PROBE_PORT",
    "reconcile": "HOOKLINE_PROBE_PORT",
    "worker": "HOOKLINE_PROBE_PORT",
    "flower": "HOOKLINE_FLOWER_PORT",
}
PATHS = {"startupProbe": STARTUPZ, "livenessProbe": LIVEZ, "readinessProbe": READYZ}
FLOWER_PATH = "/healthcheck"

LEAST_PATIENCE_SECONDS = 20.0
"""On a busy node, a healthy program may leave a probe without an answer for nearly so long."""
LEAST_START_SECONDS = 60.0


def probes(deployed: Deployed) -> Iterator[str]:
    for workload in deployed.running(*PORTS):
        for kind, path in PATHS.items():
            probe = workload.probe(kind)
            wanted = _flower_path(workload) if workload.role == "flower" else path
            for sentence in _judge(probe, wanted, value(workload, PORTS[workload.role])):
                yield f"{workload}: its {kind} {sentence}"
        for sentence in _patience(workload):
            yield f"{workload}: {sentence}"


def _flower_path(workload: Workload) -> str:
    """Return the path of Flower's health check, which is below its prefix like all of its pages."""
    prefix = workload.variables.get("FLOWER_URL_PREFIX", "").strip("/")
    return f"/{prefix}{FLOWER_PATH}" if prefix else FLOWER_PATH


def _judge(probe: Probe | None, path: str, port: float) -> Iterator[str]:
    if probe is None:
        yield f"is missing; ask {path} on port {port:g}."
    elif probe.path != path:
        yield f"asks {probe.path or 'nothing by HTTP'}; ask {path}, which costs nothing."
    elif probe.port != port:
        yield f"asks port {probe.port or 'unknown'}, and the program answers on {port:g}."
    elif probe.timeout_seconds > probe.period_seconds:
        yield (
            f"waits {probe.timeout_seconds:g} s for an answer and is sent every {probe.period_seconds:g} s; make "
            f"timeoutSeconds the shorter one."
        )


def _patience(workload: Workload) -> Iterator[str]:
    live, startup = workload.probe("livenessProbe"), workload.probe("startupProbe")
    most = max(value(workload, "HOOKLINE_STALLED_SECONDS"), LEAST_PATIENCE_SECONDS)
    if live and not LEAST_PATIENCE_SECONDS <= live.patience_seconds <= most:
        yield (
            f"its livenessProbe restarts it after {live.patience_seconds:g} s without an answer; make periodSeconds "
            f"times failureThreshold {LEAST_PATIENCE_SECONDS:g} or more, since answers are late on a busy node, and no "
            f"more than HOOKLINE_STALLED_SECONDS ({most:g})."
        )
    if startup and startup.patience_seconds < LEAST_START_SECONDS:
        yield (
            f"its startupProbe gives it {startup.patience_seconds:g} s to start; make periodSeconds times "
            f"failureThreshold {LEAST_START_SECONDS:g} or more."
        )


RULES: tuple[Rule, ...] = (probes,)
