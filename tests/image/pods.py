"""The worker's rendered Kubernetes manifest, as a real pod under podman, and what a stop of it has done.

Podman 4.3 reads of a pod no grace period, no preStop hook and no probes; the tests do what kubelet would do about them.
"""

import contextlib
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from tests.image.containers import Container, Installation
from tests.support.processes import ROOT, free_port

OVERLAY = ROOT / "tests" / "image" / "kubernetes"


@dataclass(frozen=True, slots=True)
class Pod:
    """One replica of the worker's Deployment."""

    name: str
    container: Container
    grace_seconds: int
    probe_port: int

    def stop(self, *, grace_seconds: int = 0) -> int:
        """Send TERM, and KILL at the end of the manifest's grace period or of another; return the exit status."""
        seconds = str(grace_seconds or self.grace_seconds)
        self.container.installation.podman("pod", "stop", "--time", seconds, self.name)
        return self.container.exit_status


@contextlib.contextmanager
def running_pod(installation: Installation, **settings: object) -> Iterator[Pod]:
    """Run the worker's manifest, with these settings besides its own; the pod is gone at the end."""
    probe_port = free_port()
    name = f"hookline-test-{uuid.uuid4().hex[:8]}"
    manifests = _rendered(installation, name, {**settings, "HOOKLINE_PROBE_PORT": probe_port})
    file = installation.directory / f"{name}.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    deployment = next(manifest for manifest in manifests if manifest["kind"] == "Deployment")
    grace_seconds = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    container = Container(f"{name}-pod-0-worker", installation)
    try:
        installation.podman("kube", "play", str(file))
        yield Pod(f"{name}-pod-0", container, grace_seconds, probe_port)
    except BaseException:
        print(f"== {container.name}\n{container.logs()}")
        raise
    finally:
        installation.podman("pod", "rm", "--force", "--ignore", "--time", "0", f"{name}-pod-0")


def _rendered(installation: Installation, name: str, settings: dict[str, object]) -> list[dict[str, Any]]:
    """Return the Deployment and its ConfigMap, as kustomize renders them."""
    command = ["kubectl", "kustomize", str(OVERLAY)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    rendered = done.stdout.replace("@DIRECTORY@", str(_mounted(installation))).replace("@IMAGE@", installation.image)
    found: list[dict[str, Any]] = []
    for manifest in yaml.safe_load_all(rendered):
        if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"].startswith("hookline-config"):
            manifest["data"] |= {setting: str(value) for setting, value in settings.items()}
            found.insert(0, manifest)
        if (manifest["kind"], manifest["metadata"]["name"]) == ("Deployment", "worker"):
            manifest["metadata"]["name"] = name
            found.append(manifest)
    return found


def _mounted(installation: Installation) -> Path:
    """Lay out what the pod mounts: its secrets, and a /tmp."""
    directory = installation.directory / "pod"
    for part in (directory / "mounted", directory / "tmp"):
        part.mkdir(parents=True, exist_ok=True)
    (directory / "tmp").chmod(0o1777)
    secrets = {path.name: path.read_text() for path in installation.mounted_secrets().iterdir()}
    secrets |= {"DATABASE_URL": installation.database_url, "BROKER_URL": installation.broker_url}
    for name, value in secrets.items():
        (directory / "mounted" / name).write_text(value)
    return directory


@dataclass(frozen=True, slots=True)
class Drain:
    """What a stop has done, as the inbox and podman tell it."""

    exit_status: int
    took_seconds: float
    """From the request until the pod was gone."""
    gone_after_last_end_seconds: float
    """From the end of the last handler until the container had ended."""
    cut_off: int
    """Runs that began and did not end by themselves."""
    still_running: int
    """Jobs that are marked as running though nobody runs them."""

    @classmethod
    def of(cls, pod: Pod, *, stopped_at: datetime, exit_status: int) -> "Drain":
        installation = pod.container.installation
        gone_at = pod.container.finished_at
        ((last_end_at,),) = installation.rows("SELECT max(finished_at) FROM webhooks_attempt")
        ((cut_off,),) = installation.rows("SELECT count(*) FROM webhooks_attempt WHERE outcome <> 'succeeded'")
        ((running,),) = installation.rows("SELECT count(*) FROM webhooks_job WHERE state = 'running'")
        return cls(
            exit_status=exit_status,
            took_seconds=(gone_at - stopped_at).total_seconds(),
            gone_after_last_end_seconds=(gone_at - last_end_at).total_seconds(),
            cut_off=cut_off,
            still_running=running,
        )
