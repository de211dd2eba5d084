"""What a deployment on Kubernetes must hold to: rules over rendered manifests. Values in, sentences out.

    manifests   reads the files: workloads, their variables, probes and times
    deployed    what rules look at, with what the manifests cannot say
    names       what a migration is called
    variables   which variables and queues the programs get
    secrets     which secrets they are given
    volumes     which files they find
    times       graces, drains, limits and the broker's timeouts
    probes      probes
    capacity    replicas, connections, memory

Each rule yields one sentence for each mismatch: where, what is wrong, and what to do. The cluster is not asked; what
may be wrong there, whatever the manifests say, is a note.
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
    """Yield what is to be looked at in the cluster, in one sentence each."""
    for note in capacity.NOTES:
        yield from note(deployed)
