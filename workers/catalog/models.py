"""Rows from GitHub's events: installations, repositories and hooks, and which manifests to scan.

GitHub's ids are unique within one source: github.com and an Enterprise Server both count from 1.
"""

import hashlib
from typing import Self

from django.db import models
from django.db.models.functions import Now

from workers.catalog.ecosystems import Ecosystem
from workers.catalog.latest import LONG_AGO, LatestRow


class FromGitHub(LatestRow):
    """Something that has an id of GitHub."""

    SCOPE = "source"
    IDENTITY = "github_id"

    source = models.SlugField(db_index=False, help_text="The source's name.")
    github_id = models.BigIntegerField("GitHub id")

    class Meta:
        abstract = True
        # The id first: a search by GitHub's id alone uses the same index.
        constraints = [models.UniqueConstraint(fields=["github_id", "source"], name="%(class)s_once")]


class Installation(FromGitHub):
    """An installation of the App by an account. A deleted one is kept: GitHub never uses its id again.

    The account's name has a version of its own, the moment at which its delivery was received: an account can be
    renamed while nothing of its installation changes.
    """

    LATEST = ("app_slug", "repository_selection", "suspended_at")
    FOR_GOOD = ("deleted_at",)
    BY_OTHER_RULES = ("account_login", "account_type", "named_at")

    account_login = models.CharField(max_length=255, db_index=True)
    account_type = models.CharField(max_length=50, blank=True, help_text="Organization, User or Enterprise.")
    named_at = models.DateTimeField(
        null=True, blank=True, help_text="When the delivery that last named the account was received."
    )
    app_slug = models.CharField("app", max_length=255, blank=True)
    repository_selection = models.CharField(max_length=20, blank=True, help_text="all, or selected.")
    suspended_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.account_login} ({self.github_id})"

    @property
    def who(self) -> str:
        return self.account_login or f"installation {self.github_id}, whose account is not named"

    def take_over(self, heard: Self) -> bool:
        changed = super().take_over(heard)
        if (self.named_at or LONG_AGO, self.account_login) >= (heard.named_at or LONG_AGO, heard.account_login):
            return changed
        for name in self.BY_OTHER_RULES:
            setattr(self, name, getattr(heard, name))
        return True


class Repository(FromGitHub):
    """A repository that an event has described. A deleted one is kept, so that a late event cannot create it again."""

    LATEST = ("full_name", "private", "archived", "default_branch")
    FOR_GOOD = ("deleted_at",)

    full_name = models.CharField(max_length=255, db_index=True)
    private = models.BooleanField()
    archived = models.BooleanField(default=False)
    default_branch = models.CharField(
        max_length=255, blank=True, help_text="Empty until a repository event has described it."
    )
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta(FromGitHub.Meta):
        verbose_name_plural = "repositories"

    def __str__(self) -> str:
        return self.full_name


class InstallationRepository(LatestRow):
    """Whether an installation may see a repository.

    A row of its own for each pair: a transferred repository is removed from one installation and added to another, and
    the two events may come in either order. Whether the installation itself is deleted or suspended is on its own row.
    """

    SCOPE = "installation_id"
    IDENTITY = "repository_id"
    LATEST = ("removed_at",)

    installation = models.ForeignKey(Installation, on_delete=models.CASCADE, related_name="grants", db_index=False)
    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="grants")
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "installation repositories"
        constraints = [models.UniqueConstraint(fields=["installation", "repository"], name="grant_once")]

    def __str__(self) -> str:
        return f"repository {self.repository_id} in installation {self.installation_id}"


class Hook(FromGitHub):
    """A webhook that has reached Hookline with a ping."""

    LATEST = ("target_type", "target", "events", "active")

    target_type = models.CharField(max_length=50, help_text="App, Repository or Organization.")
    target = models.CharField(max_length=255, blank=True, help_text="Full name, login or the App's id.")
    events = models.JSONField(help_text="What it subscribes to.")
    active = models.BooleanField()

    def __str__(self) -> str:
        return f"{self.target_type} hook {self.github_id}"


class ScanRequestQuerySet(models.QuerySet["ScanRequest"]):
    def request(self, wanted: list["ScanRequest"]) -> None:
        """Store the requests that are not stored yet."""
        for scan in wanted:
            scan.key = scan.content_key()
        self.bulk_create(wanted, ignore_conflicts=True, batch_size=500)


class ScanRequest(models.Model):
    """A dependency manifest to scan, as it stands at one commit."""

    key = models.CharField(max_length=64, unique=True, help_text="SHA-256 of what there is to scan.")
    source = models.SlugField(db_index=False, help_text="The source's name.")
    repository_github_id = models.BigIntegerField("repository's GitHub id")
    repository = models.CharField(max_length=255, db_index=True, help_text="Full name at the time of the push.")
    ref = models.TextField(help_text="The ref whose push asked first.")
    commit_sha = models.CharField("commit", max_length=64)
    path = models.TextField()
    ecosystem = models.CharField(max_length=20, choices=[(one.value, one.value) for one in Ecosystem])
    requested_at = models.DateTimeField(db_default=Now())

    objects = ScanRequestQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["ecosystem", "id"], name="scanrequest_ecosystem"),
            models.Index(fields=["repository_github_id", "id"], name="scanrequest_repository"),
        ]

    def __str__(self) -> str:
        return f"{self.path} of {self.repository}"

    def content_key(self) -> str:
        """Return a key of the content to scan: the same commit on two branches, or from two hooks, is one scan.

        The key is a digest, since a path in Git may be longer than an index entry in PostgreSQL.
        """
        content = "\0".join([self.source, str(self.repository_github_id), self.commit_sha, self.path])
        return hashlib.sha256(content.encode()).hexdigest()
