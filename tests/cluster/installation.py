"""Hookline on the cluster, applied from `deploy/kubernetes` as a user's overlay would, on servers of the test's own."""

import base64
import contextlib
import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import psycopg
import urllib3

from tests.cluster import network
from tests.cluster.cluster import Cluster
from tests.faults.rabbitmq import OwnRabbitMQ, own_rabbitmq
from tests.faults.servers import OwnPostgres, own_postgres
from tests.image.containers import team_image
from tests.support.deliveries import DISPATCH, PATH, body_of, headers_for
from tests.support.kubernetes import KUBERNETES, Document, kustomize, parsed
from tests.support.processes import wait_until
from webhooks.encryption import new_key

NAMESPACE = "hookline"
LABELS = "app.kubernetes.io/name=hookline,app.kubernetes.io/component={}"
ROLES = ("receiver", "relay", "worker", "flower")
SENDERS = 16
IMAGE = "localhost/hookline-team"
TAGS = ("1", "2")
"""One image under two names: a rollout asks for another name."""


class Installation:
    """What is applied, and who is asked how it goes."""

    def __init__(self, cluster: Cluster, database: OwnPostgres, broker: OwnRabbitMQ) -> None:
        self.cluster, self.database, self.broker = cluster, database, broker
        self.secret = secrets.token_urlsafe(24)
        self._http = urllib3.PoolManager(maxsize=SENDERS, retries=False)

    def render(
        self,
        *,
        tag: str = TAGS[0],
        components: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        patches: Sequence[Document] = (),
    ) -> list[Document]:
        """Return the documents of an overlay: the base, components, variables and strategic patches."""
        with tempfile.TemporaryDirectory(prefix="hookline-overlay-") as directory:
            variables = {"ALLOWED_HOSTS": "hooks.example.com", "HOOKLINE_APPS": "acme"} | dict(settings or {})
            kustomization = {
                "namespace": NAMESPACE,
                "resources": [os.path.relpath(KUBERNETES / "base", directory)],
                "components": [os.path.relpath(KUBERNETES / "components" / name, directory) for name in components],
                "images": [{"name": "hookline", "newName": IMAGE, "newTag": tag}],
                "configMapGenerator": [
                    {
                        "name": "hookline-config",
                        "behavior": "merge",
                        "literals": [f"{name}={value}" for name, value in variables.items()],
                    }
                ],
                "patches": [{"patch": json.dumps(patch)} for patch in patches],
            }
            Path(directory, "kustomization.yaml").write_text(json.dumps(kustomization))
            return parsed(kustomize(Path(directory)))

    def apply(self, documents: Sequence[Document]) -> None:
        self.cluster.apply(*documents)

    def make_secrets(self) -> None:
        """Make the two Secrets that docs/kubernetes.md has a user make."""
        self.cluster.kubectl("create", "namespace", NAMESPACE)
        contents = {
            "hookline-secrets": {
                "SECRET_KEY": secrets.token_urlsafe(50),
                "DATABASE_URL": self.database.url("postgres"),
                "BROKER_URL": self.broker.url,
                "GITHUB_WEBHOOK_SECRETS": self.secret,
                "HOOKLINE_ENCRYPTION_KEYS": new_key(),
                "HOOKLINE_DESTINATION_KEYS": new_key(),
            },
            "hookline-flower": {"HOOKLINE_OPERATOR_PASSWORD": secrets.token_urlsafe(24)},
        }
        for name, values in contents.items():
            data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
            metadata = {"name": name, "namespace": NAMESPACE}
            self.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})

    def wait_for_rollout(self, *roles: str, seconds: int = 300) -> None:
        for role in roles or ROLES:
            self.kubectl("rollout", "status", f"deployment/{role}", f"--timeout={seconds}s")

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl(f"--namespace={NAMESPACE}", *arguments)

    def pods(self, role: str) -> list[Any]:
        found: list[Any] = self.cluster.get("pods", f"--namespace={NAMESPACE}", f"--selector={LABELS.format(role)}")
        return found

    def nodes_of(self, role: str) -> list[str]:
        """Return where the role's pods are, in no order."""
        return [pod["spec"].get("nodeName", "") for pod in self.pods(role)]

    def restarts(self) -> dict[str, int]:
        """Return how often each pod's container was started again, by the pod's name."""
        pods = self.cluster.get("pods", f"--namespace={NAMESPACE}")
        return {
            pod["metadata"]["name"]: sum(one["restartCount"] for one in pod["status"].get("containerStatuses", ()))
            for pod in pods
        }

    def ready(self, role: str) -> int:
        """Return how many of the role's pods are ready."""
        conditions = [one for pod in self.pods(role) for one in pod["status"].get("conditions", ())]
        return sum(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def names(self, kind: str, *options: str) -> set[str]:
        found = self.cluster.get(kind, f"--namespace={NAMESPACE}", *options)
        return {one["metadata"]["name"] for one in found}

    def images(self) -> set[str]:
        """Return the images of all pods that run."""
        running = self.cluster.get("pods", f"--namespace={NAMESPACE}", "--field-selector=status.phase=Running")
        return {container["image"] for pod in running for container in pod["spec"]["containers"]}

    def wait_until_settled(self, *, seconds: int = 180) -> None:
        """Wait until no pod is on its way out any more."""

        def settled() -> bool:
            pods = self.cluster.get("pods", f"--namespace={NAMESPACE}")
            return not any("deletionTimestamp" in pod["metadata"] for pod in pods)

        wait_until(settled, what="the old pods to be gone", seconds=seconds)

    def wait_for_metrics(self) -> None:
        """Wait until the metrics API tells the CPU of each role's pods."""

        def told() -> bool:
            done = self.cluster.try_kubectl("top", "pods", f"--namespace={NAMESPACE}", "--no-headers")
            return {line.partition("-")[0] for line in done.stdout.splitlines()} >= set(ROLES)

        wait_until(told, what="the CPU of each role", seconds=120)

    # --- Deliveries ---------------------------------------------------------------------------------------------------

    def endpoints(self) -> list[str]:
        """Return the addresses of the receivers that take requests, as an ingress knows them."""
        slices = self.cluster.get(
            "endpointslices", f"--namespace={NAMESPACE}", "--selector=kubernetes.io/service-name=receiver"
        )
        return [
            f"http://{address}:{slice_['ports'][0]['port']}"
            for slice_ in slices
            for endpoint in slice_["endpoints"] or ()
            if endpoint["conditions"]["ready"]
            for address in endpoint["addresses"]
        ]

    def send(self, url: str, action: str, **client_payload: Any) -> int:
        """POST a signed delivery to a receiver, and return the status."""
        body = body_of(action=action, client_payload=client_payload)
        headers = headers_for(body, secret=self.secret, event=DISPATCH) | {"Host": "hooks.example.com"}
        answer = self._http.request("POST", f"{url}{PATH}", body=body, headers=headers, timeout=20)
        return answer.status

    def send_many(self, count: int, action: str, **client_payload: Any) -> None:
        """Have so many deliveries acknowledged, by all receivers in turn."""
        urls = cycle(self.endpoints())
        with ThreadPoolExecutor(SENDERS) as senders:
            statuses = set(senders.map(lambda _: self.send(next(urls), action, **client_payload), range(count)))
        assert statuses == {202}

    # --- The inbox ----------------------------------------------------------------------------------------------------

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the inbox in SQL."""
        with psycopg.connect(self.database.url("postgres"), autocommit=True) as inbox:
            return list(inbox.execute(query.encode()))

    def assert_all_succeeded(self, count: int) -> None:
        """So many jobs have succeeded at once: none was lost, cut off or handed back, and no attempt was spent."""
        assert self.states() == {"succeeded": count}
        assert self.rows("SELECT DISTINCT outcome FROM webhooks_attempt") == [("succeeded",)]
        spent = "SELECT DISTINCT attempt - budget_from_attempt, forgiven, lost FROM webhooks_job"
        assert self.rows(spent) == [(1, 0, 0)]

    def states(self) -> dict[str, int]:
        return dict(self.rows("SELECT state, count(*) FROM webhooks_job GROUP BY state"))

    def wait_until_running(self, jobs: int) -> None:
        wait_until(lambda: self.states().get("running", 0) >= jobs, what=f"{jobs} jobs to run", seconds=60)

    def wait_until_drained(self, *, seconds: float = 120) -> None:
        waiting = {"queued", "running", "retrying"}
        wait_until(lambda: not self.states().keys() & waiting, what="every job to be final", seconds=seconds)

    def close(self) -> None:
        self.cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait")

    def story(self) -> str:
        """Say what a person would look at where something is wrong."""
        told = [self.kubectl("get", "all", "--output=wide"), self.kubectl("get", "events", "--sort-by=lastTimestamp")]
        for role in ("migrate", "receiver", "relay", "worker"):
            done = self.cluster.try_kubectl(
                *("logs", f"--namespace={NAMESPACE}", f"--selector={LABELS.format(role)}", "--prefix", "--tail=30")
            )
            told.append(done.stdout + done.stderr)
        return "\n".join(told)


@contextlib.contextmanager
def running_installation(cluster: Cluster) -> Iterator[Installation]:
    """Have Hookline's Secrets, a database and a broker; the test applies the rest. All is gone at the end."""
    with contextlib.ExitStack() as stack:
        clients = str(network.EVERYTHING)
        database = stack.enter_context(own_postgres(address=network.HOST, clients=clients))
        broker = stack.enter_context(own_rabbitmq(address=network.HOST))
        installation = Installation(cluster, database, broker)
        stack.callback(installation.close)
        installation.make_secrets()
        try:
            yield installation
        except BaseException:
            print(installation.story())
            raise


@contextlib.contextmanager
def installed(cluster: Cluster, *, settings: Mapping[str, str] | None = None) -> Iterator[Installation]:
    """Have the base on the cluster, with all of its pods there."""
    load_images(cluster)
    with running_installation(cluster) as installation:
        installation.apply(installation.render(settings=settings))
        installation.wait_for_rollout()
        yield installation


def load_images(cluster: Cluster) -> None:
    """Give every node the team's image, under both names."""
    image = team_image()
    with tempfile.TemporaryDirectory() as directory:
        for tag in TAGS:
            archive = Path(directory, f"{tag}.tar")
            command = ["buildah", "push", "--quiet", image, f"docker-archive:{archive}:{IMAGE}:{tag}"]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            cluster.load(archive)
            archive.unlink()
