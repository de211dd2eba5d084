"""The times of a stop that a deployment has to know as well."""

SHORTEST_LIFETIME_SECONDS = 900.0
"""Kubernetes starts an exited container again after 10 s, then after 20 s, up to five minutes, whatever its exit
status. It goes back to 10 s only after the container has run for ten minutes:
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
"""
LONGEST_MARGIN_SECONDS = 5.0


def margin_seconds(grace_seconds: float) -> float:
    """Return how long before the end of the grace running handlers are interrupted."""
    return min(LONGEST_MARGIN_SECONDS, grace_seconds / 3)
