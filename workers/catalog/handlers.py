"""The handlers that come with Hookline, and the example of how to write one.

A handler is a function that takes an Event: it reads the payload, stores values from it, and returns a short sentence
for the job's page in the admin. It may run twice for one delivery, at the same time as another run, or after a newer
event. So these handlers do not trust the order: they store the event's values together with its version (see
latest.py), and the database keeps the latest. A run that raises is retried, except with GiveUp: that is for faults that
no retry can correct.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from webhooks import Event, on
from workers.catalog.ecosystems import manifests
from workers.catalog.latest import LONG_AGO, keep_latest
from workers.catalog.models import Hook, Installation, InstallationRepository, Repository, ScanRequest
from workers.catalog.reading import (
    MissingError,
    is_storable,
    moment,
    objects,
    required,
    succeeds_without_values,
    text,
    texts,
)

_LISTED = (("id", int), ("full_name", str), ("private", bool))
"""The keys that are needed of a repository in a list. In GitHub's schema each of them may be absent."""


@on("ping")
@succeeds_without_values
def mark_hook_live(event: Event) -> str:
    """Store that a hook reaches Hookline, and to which events it subscribes."""
    hook = required(event.payload, "hook", dict)
    live = Hook.heard(
        event,
        moment(hook.get("updated_at")),
        source=event.source,
        github_id=required(event.payload, "hook.id", int),
        target_type=required(event.payload, "hook.type", str),
        target=_target(event, hook),
        events=[name for name in required(event.payload, "hook.events", list) if is_storable(name, str)],
        active=required(event.payload, "hook.active", bool),
    )
    keep_latest([live])
    return f"{live.target_type} hook {live.github_id} is live"


@on("installation")
@succeeds_without_values
def record_installation(event: Event) -> str:
    """Store the installation, and the repositories that it starts with, as the latest event describes them."""
    installation = _keep_installation(event)
    listed = objects(event.payload, "repositories") if event.action == "created" else []
    kept = _keep_repositories(event, installation, listed, removed_at=None)
    return f"{event.action} for {installation.who}, {_count(kept, 'repository', 'repositories')}{_rest(listed, kept)}"


@on("installation_repositories", actions=["added", "removed"])
@succeeds_without_values
def record_installation_repositories(event: Event) -> str:
    """Store which repositories the installation may see."""
    added, removed = (objects(event.payload, f"repositories_{action}") for action in ("added", "removed"))
    installation = _keep_installation(event)
    come = _keep_repositories(event, installation, added, removed_at=None)
    gone = _keep_repositories(event, installation, removed, removed_at=event.received_at)
    return f"{come} added, {gone} removed for {installation.who}{_rest([*added, *removed], come + gone)}"


@on(["installation_target", "organization"], actions=["renamed"])
@succeeds_without_values
def rename_account(event: Event) -> str:
    """Store the new name of an account that has installed the App, and nothing else of its installation."""
    is_target = event.name == "installation_target"
    holder = "account" if is_target else "organization"
    account_type = text(event.payload, "target_type") if is_target else "Organization"
    named = _named(event, required(event.payload, holder, dict), account_type)
    if not named:
        raise MissingError(f"the payload's {holder} has no name")
    renamed = Installation(
        changed_at=None,
        heard_at=LONG_AGO,  # The event does not describe the installation itself: every other event counts as newer.
        source=event.source,
        github_id=required(event.payload, "installation.id", int),
        **named,
    )
    (stored,) = keep_latest([renamed])
    return f"installation {stored.github_id} is {stored.account_login}'s"


@on("repository")
@succeeds_without_values
def record_repository(event: Event) -> str:
    """Store the repository as the latest event describes it. The event of every action has all of its fields."""
    repository = Repository.heard(
        event,
        moment(required(event.payload, "repository", dict).get("updated_at")),
        source=event.source,
        github_id=required(event.payload, "repository.id", int),
        full_name=required(event.payload, "repository.full_name", str),
        private=required(event.payload, "repository.private", bool),
        archived=required(event.payload, "repository.archived", bool),
        default_branch=required(event.payload, "repository.default_branch", str),
        deleted_at=event.received_at if event.action == "deleted" else None,
    )
    keep_latest([repository])
    return f"{repository.full_name} {event.action}"


@on("push", where={"deleted": False})
@succeeds_without_values
def request_scans(event: Event) -> str | None:
    """Ask for a scan of every dependency manifest that the push touches and leaves in place."""
    repository = required(event.payload, "repository.full_name", str)
    found = manifests(_touched_paths(event.payload))
    ScanRequest.objects.request(
        [
            ScanRequest(
                source=event.source,
                repository_github_id=required(event.payload, "repository.id", int),
                repository=repository,
                ref=required(event.payload, "ref", str),
                commit_sha=_commit_sha(event.payload),
                path=path,
                ecosystem=ecosystem,
            )
            for path, ecosystem in found.items()
        ]
    )
    return f"{_count(len(found), 'manifest', 'manifests')} in {repository}" if found else None


def keep_installed(event: Event, listed: list[Mapping[str, Any]]) -> int:
    """Store the installation of an event, and repositories that it may see as GitHub's API lists them; return how many.

    For other apps' handlers: the event itself may list fewer.
    """
    return _keep_repositories(event, _keep_installation(event), listed, removed_at=None)


def _keep_installation(event: Event) -> Installation:
    installation = required(event.payload, "installation", dict)
    account = installation.get("account")
    suspended_at = moment(installation.get("suspended_at"))
    heard = Installation.heard(
        event,
        moment(installation.get("updated_at")),
        source=event.source,
        github_id=required(event.payload, "installation.id", int),
        app_slug=text(installation, "app_slug"),
        repository_selection=text(installation, "repository_selection"),
        suspended_at=suspended_at or (event.received_at if event.action == "suspend" else None),
        deleted_at=event.received_at if event.name == "installation" and event.action == "deleted" else None,
        **_named(event, account if isinstance(account, Mapping) else {}, text(installation, "target_type")),
    )
    (stored,) = keep_latest([heard])
    return stored


def _named(event: Event, account: Mapping[str, Any], target_type: str) -> dict[str, Any]:
    """Return the fields of an installation's row for its account's name; none if the account has no name."""
    # An enterprise that has installed the App has a slug instead of a login.
    login = text(account, "slug") or text(account, "login")
    if not login:
        return {}
    account_type = text(account, "type") or target_type
    return {"account_login": login, "account_type": account_type, "named_at": event.received_at}


def _keep_repositories(
    event: Event, installation: Installation, listed: list[Mapping[str, Any]], *, removed_at: datetime | None
) -> int:
    """Store a list's repositories; return how many. A list gives no moment: any repository event counts as newer."""
    complete = [one for one in listed if all(is_storable(one.get(name), kind) for name, kind in _LISTED)]
    repositories = keep_latest(
        Repository.heard(
            event,
            None,
            source=event.source,
            github_id=repository["id"],
            full_name=repository["full_name"],
            private=repository["private"],
        )
        for repository in complete
    )
    changed_at = moment(required(event.payload, "installation", dict).get("updated_at"))
    keep_latest(
        InstallationRepository.heard(
            event, changed_at, installation=installation, repository=repository, removed_at=removed_at
        )
        for repository in repositories
    )
    return len(complete)


def _rest(listed: list[Mapping[str, Any]], kept: int) -> str:
    return f"; {len(listed) - kept} without an id, a name or a visibility" if kept < len(listed) else ""


def _commit_sha(payload: Mapping[str, Any]) -> str:
    # For an annotated tag, `after` is the tag object; GitHub gives its commit in `head_commit`.
    is_tag = required(payload, "ref", str).startswith("refs/tags/")
    if is_tag and isinstance(payload.get("head_commit"), Mapping):
        return required(payload, "head_commit.id", str)
    return required(payload, "after", str)


def _touched_paths(payload: Mapping[str, Any]) -> set[str]:
    """Return the paths that the push added or modified and did not then remove.

    GitHub lists at most 2,048 commits, oldest first, and none for a tag or for a branch moved to a commit that it
    already knows. The head commit is always the newest of them, and null where the ref points to no commit.
    https://docs.github.com/en/webhooks/webhook-events-and-payloads#push
    """
    head = payload.get("head_commit")
    touched: set[str] = set()
    for commit in [*objects(payload, "commits"), *([head] if isinstance(head, Mapping) else [])]:
        touched -= texts(commit, "removed")
        touched |= texts(commit, "added") | texts(commit, "modified")
    return touched


def _target(event: Event, hook: Mapping[str, Any]) -> str:
    """Return what the hook belongs to: a repository, an organisation, or an App by its id."""
    organization = event.payload.get("organization")
    login = text(organization, "login") if isinstance(organization, Mapping) else ""
    return event.repository or login or str(hook.get("app_id") or "")


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
