"""What a real API server says of the manifests: base, overlays and every allowed combination of components."""

import json
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import NAMESPACE
from tests.cluster.programs import ASSETS
from tests.support.kubernetes import (
    OVERLAYS,
    Document,
    allowed_combinations,
    combination,
    compatibility,
    key_of,
    leftovers,
    overlay,
    parsed,
    tried_combinations,
)

pytestmark = pytest.mark.timeout(900)
ITS_OWN = ("configmap/kube-root-ca.crt", "serviceaccount/default")
"""What Kubernetes puts into every namespace."""


@pytest.fixture(scope="module")
def definitions(cluster: Cluster) -> None:
    """The kinds that operators bring."""
    cluster.kubectl("apply", "--server-side", f"--filename={ASSETS / 'crds'}")
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all")


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[None]:
    """The namespace of the manifests, as they have it: restricted. It is gone at the end."""
    make_namespace(cluster)
    yield
    delete_namespace(cluster)


@pytest.fixture
def emptied(cluster: Cluster, namespace: None) -> Iterator[None]:
    """The same; what the test leaves in it is gone at its end."""
    yield
    delete_namespace(cluster)
    make_namespace(cluster)


def make_namespace(cluster: Cluster) -> None:
    cluster.apply(*(one for one in parsed(combination(())) if one["kind"] == "Namespace"))


def delete_namespace(cluster: Cluster) -> None:
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait")


def applied(cluster: Cluster, text: str, *options: str) -> None:
    """Apply it; the API server accepts all of it and warns of nothing."""
    done = cluster.try_kubectl("apply", "--server-side", "--filename=-", *options, stdin=text)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.usefixtures("definitions", "namespace")
@pytest.mark.parametrize("names", tried_combinations(), ids=lambda names: " + ".join(("base", *names)))
def test_each_combination_is_accepted_without_a_warning(cluster: Cluster, names: tuple[str, ...]) -> None:
    applied(cluster, combination(names), "--dry-run=server")


@pytest.mark.usefixtures("definitions", "emptied")
@pytest.mark.parametrize("name", OVERLAYS)
def test_what_is_applied_twice_changes_nothing(cluster: Cluster, name: str) -> None:
    documents = parsed(overlay(name))
    applied(cluster, overlay(name))
    before = {key_of(one): specified(cluster, one) for one in documents}
    applied(cluster, overlay(name))
    assert {key_of(one): specified(cluster, one) for one in documents} == before


@pytest.mark.usefixtures("definitions", "emptied")
@pytest.mark.parametrize("name", compatibility())
def test_of_a_component_that_is_no_longer_listed_stays_what_the_readme_says_and_nothing_else(
    cluster: Cluster, name: str
) -> None:
    applied(cluster, combination(()))
    before = present(cluster)
    applied(cluster, combination((name,)))
    # A base without its autoscaler has got one again by then.
    applied(cluster, combination(()))
    stays = {key for key in present(cluster).keys() - before if not key.startswith("job/")}
    assert stays == leftovers().get(name, frozenset())
    if stays:
        cluster.kubectl("delete", f"--namespace={NAMESPACE}", *stays)
    after = {key: value for key, value in present(cluster).items() if not key.startswith("job/") or key in before}
    assert after == before


def present(cluster: Cluster) -> dict[str, str]:
    """Return what is in the namespace of the kinds that are applied, as the API server keeps it."""
    documents = [parsed(combination(names)) for names in allowed_combinations() if len(names) < 2]
    kinds = {one["kind"].lower() for rendered in documents for one in rendered} - {"namespace"}
    found = cluster.get(",".join(sorted(kinds)), f"--namespace={NAMESPACE}")
    return {key_of(one): without_state(one) for one in found if key_of(one) not in ITS_OWN}


def specified(cluster: Cluster, document: Document) -> str:
    """Return what the API server keeps of an object, without what it says of its state."""
    metadata = document["metadata"]
    namespace = [f"--namespace={metadata['namespace']}"] if "namespace" in metadata else []
    found = cluster.get(document["kind"].lower(), metadata["name"], *namespace)
    return without_state(found)


def without_state(found: Document) -> str:
    for name in ("resourceVersion", "managedFields", "generation"):
        found["metadata"].pop(name, None)
    found["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    found.pop("status", None)
    return json.dumps(found, sort_keys=True)


@pytest.mark.usefixtures("namespace")
def test_a_pod_that_is_less_restricted_is_refused(cluster: Cluster) -> None:
    """So the namespace's own labels work, and the pods of the manifests pass for a reason."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "loose", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "loose", "image": "hookline"}]},
    }
    done = cluster.try_kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(pod))
    assert done.returncode == 1
    assert 'violates PodSecurity "restricted:latest"' in done.stderr
