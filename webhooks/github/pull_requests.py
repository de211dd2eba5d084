"""Which pull requests an event is about, by its payload. No I/O.

GitHub's page of each event: https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from collections.abc import Iterator, Mapping
from typing import Any

_OWN = frozenset({"pull_request", "pull_request_review", "pull_request_review_comment", "pull_request_review_thread"})
"""Events of one pull request."""
_ISSUES = frozenset({"issues", "issue_comment"})
"""A pull request is an issue too: comments on its conversation come as these."""
_CHECKS = frozenset({"check_run", "check_suite", "workflow_run"})
"""They list the pull requests whose newest commit they are for; none for a pull request from a fork."""
EVENTS = _OWN | _ISSUES | _CHECKS
"""The events whose payloads name pull requests by their numbers."""


def numbers_of(event: str, payload: Mapping[str, Any]) -> frozenset[int]:
    """Return the numbers of the pull requests of the event's own repository that the payload names."""
    if event in _OWN:
        return _numbers([payload.get("pull_request")])
    if event in _ISSUES:
        issue = payload.get("issue")
        return _numbers([issue]) if isinstance(issue, Mapping) and "pull_request" in issue else frozenset()
    if event in _CHECKS:
        return _numbers(_listed(payload, event))
    return frozenset()


def _listed(payload: Mapping[str, Any], event: str) -> Iterator[Any]:
    checked, repository = payload.get(event), payload.get("repository")
    listed = checked.get("pull_requests") if isinstance(checked, Mapping) else None
    own = repository.get("id") if isinstance(repository, Mapping) else None
    for one in listed if isinstance(listed, list) else ():
        # The list may hold pull requests of other repositories whose head is the same commit.
        if _repository_of(one) in (own, None):
            yield one


def _repository_of(pull_request: Any) -> Any:
    """Return the id of the repository that a pull request is for, or None if it is not said."""
    try:
        return pull_request["base"]["repo"]["id"]
    except (KeyError, TypeError):
        return None


def _numbers(found: Any) -> frozenset[int]:
    numbers = (one.get("number") for one in found if isinstance(one, Mapping))
    return frozenset(number for number in numbers if type(number) is int)
