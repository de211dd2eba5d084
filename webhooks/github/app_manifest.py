"""The manifest that a GitHub App is made from: the events of the handlers, and the permissions that GitHub asks for
them. No I/O.

https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from webhooks.paths import WEBHOOKS

_BY_PERMISSION: Mapping[str, str] = {
    "actions": "workflow_job workflow_run",
    "administration": "branch_protection_configuration branch_protection_rule repository_ruleset security_and_analysis",
    "checks": "check_run check_suite",
    "contents": "commit_comment create delete fork gollum push release repository_dispatch workflow_dispatch",
    "deployments": "deploy_key deployment deployment_protection_rule deployment_review deployment_status",
    "discussions": "discussion discussion_comment",
    "issues": "issue_comment issue_dependencies issues milestone sub_issues",
    "members": "member membership organization team team_add",
    "merge_queues": "merge_group",
    "metadata": "label public repository star watch",
    "organization_administration": "org_block",
    "organization_custom_properties": "custom_property custom_property_values",
    "organization_personal_access_token_requests": "personal_access_token_request",
    "organization_projects": "projects_v2 projects_v2_item projects_v2_status_update",
    "packages": "package registry_package",
    "pages": "page_build",
    "pull_requests": ("pull_request pull_request_review pull_request_review_comment pull_request_review_thread"),
    "repository_advisories": "repository_advisory",
    "repository_projects": "project project_card project_column",
    "secret_scanning_alerts": "secret_scanning_alert secret_scanning_alert_location secret_scanning_scan",
    "security_events": "code_scanning_alert",
    "statuses": "status",
    "vulnerability_alerts": "dependabot_alert",
}
"""The permission, by its name in the API, that an App must have to be sent an event; to read is enough.

From GitHub's page of each event: https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""
PERMISSIONS: Mapping[str, str] = {
    event: permission for permission, events in _BY_PERMISSION.items() for event in events.split()
}
ALWAYS_SENT = frozenset(
    {"github_app_authorization", "installation", "installation_repositories", "installation_target", "ping"}
)
"""Every App gets these, and a manifest must not name them."""
WITHOUT_PERMISSION = frozenset({"meta", "security_advisory"})
LEVELS = ("read", "write", "admin")
LONGEST_NAME = 34
"""GitHub's limit for an App's name."""


class UnknownEventError(Exception):
    """An App cannot subscribe to this event, or nobody knows with which permission. The argument is its name."""


def manifest(
    url: str, *, source: str, name: str, events: Iterable[str], permissions: Mapping[str, str], redirect_url: str
) -> dict[str, Any]:
    """Return the manifest for an installation at a URL. `permissions` are further ones. Raises UnknownEventError."""
    wanted = sorted(set(events) - ALWAYS_SENT)
    needed = {_permission_of(event): "read" for event in wanted if event not in WITHOUT_PERMISSION}
    return {
        "name": name,
        "url": url,
        "hook_attributes": {"url": f"{url.rstrip('/')}{WEBHOOKS}{source}", "active": True},
        "redirect_url": redirect_url,
        "public": False,
        "default_events": wanted,
        # GitHub gives every App the metadata of repositories.
        "default_permissions": {"metadata": "read", **needed, **permissions},
    }


def _permission_of(event: str) -> str:
    if event not in PERMISSIONS:
        raise UnknownEventError(event)
    return PERMISSIONS[event]


def website_of(api_url: str) -> str:
    """Return where people sign in to the GitHub whose API is here.

    https://api.github.com is of https://github.com, https://ghes.example.com/api/v3 of https://ghes.example.com.
    """
    parts = urlsplit(api_url)
    host = parts.netloc if parts.path.rstrip("/") else parts.netloc.removeprefix("api.")
    return f"{parts.scheme}://{host}"


def new_app_url(website: str, organization: str) -> str:
    """Return the page that the manifest is posted to: of an organisation, or of the person who is signed in."""
    owner = f"organizations/{organization}/" if organization else ""
    return f"{website}/{owner}settings/apps/new"
