"""What a deployment on Kubernetes must fulfil: rules on rendered manifests. Values in, sentences out.

    manifests   reads the files: workloads, their variables, probes and times
    deployed    what rules look at: the manifests, and values that are not in them
    names       the name of a migration's Job
    variables   which variables and queues the programs get
    secrets     which secrets they are given
    volumes     which files they find
    times       graces, drains, limits and the broker's timeouts
    probes      probes
    capacity    replicas, connections, memory

Each rule yields one sentence for each mismatch: where, what is wrong, and what to do. The cluster is not asked; a note
says what may be wrong there even if the manifests are right.
"""

from collections.abc import Iterator

from workers.deployment import capacity, names, probes, secrets, times, variables, volumes
from workers.deployment.deployed import Deployed


def mismatches(deployed: Deployed) -> Iterator[str]:
    """Yield every mismatch, in one sentence each."""
    for module in (names, variables, secrets, volumes, times, probes, capacity):
        for rule in module.RULES:
            yield from rule(deployed)


def notes(deployed: Deployed) -> Iterator[str]:
    """Yield what to check in the cluster, in one sentence each."""
    for note in capacity.NOTES:
        yield from note(deployed)
