"""Lists of the console that a user keeps under a name."""

from django.conf import settings
from django.db import models


class SavedView(models.Model):
    """A list with its filters: the part of its URL after the question mark."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    page = models.CharField(max_length=20, help_text="The list: deliveries or jobs.")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=2_000)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "page", "name"], name="saved_view_once")]

    def __str__(self) -> str:
        return self.name
