"""Saved views: a list with its filters, which a user keeps under a name. Each user sees only their own."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import path, reverse

from webhooks.console.access import action
from webhooks.console.filters import PLACES
from webhooks.console.search import cleaned
from webhooks.models import SavedView

MOST = 50
"""How many views a user may keep of one list."""
LONGEST_QUERY = 2_000
_PERMISSIONS = {"deliveries": "webhooks.view_delivery", "jobs": "webhooks.view_job"}


def views_of(request: HttpRequest, page: str) -> QuerySet[SavedView]:
    """Return the user's own views of a list, for `console/_saved_views.html`."""
    return SavedView.objects.filter(user=request.user.pk, page=page).order_by("name")[:MOST]


@action()
def save(request: HttpRequest, page: str) -> HttpResponse:
    """Keep the list's filters under a name. A view that has this name is replaced."""
    _check(request, page)
    name, query = cleaned(request.POST.get("name", "")).strip()[:60], _query(request.POST.get("query", ""))
    kept = SavedView.objects.filter(user=request.user.pk, page=page)
    if not name or not query or len(query) > LONGEST_QUERY:
        messages.error(request, "Nothing was saved. A view needs a name, and filters of a moderate length.")
    elif not kept.filter(name=name).exists() and kept.count() >= MOST:
        messages.error(request, f"Nothing was saved. You keep {MOST} views of this list; delete one first.")
    else:
        SavedView.objects.update_or_create(
            user_id=request.user.pk or 0, page=page, name=name, defaults={"query": query}
        )
        messages.success(request, f"Saved as “{name}”.")
    return _back(page, query)


@action()
def delete(request: HttpRequest, page: str, view: int) -> HttpResponse:
    """Delete one of the user's own views."""
    _check(request, page)
    saved = get_object_or_404(SavedView, pk=view, user=request.user.pk, page=page)
    saved.delete()
    messages.success(request, f"“{saved.name}” is deleted. The list itself is as it was.")
    return _back(page, _query(request.POST.get("query", "")))


def _check(request: HttpRequest, page: str) -> None:
    if page not in _PERMISSIONS:
        raise Http404
    if not request.user.has_perm(_PERMISSIONS[page]):
        raise PermissionDenied


def _query(text: str) -> str:
    """Return the filters of a query, without the page that it was on."""
    query = QueryDict(text[: 2 * LONGEST_QUERY].replace("\0", ""), mutable=True)
    for name in PLACES:
        query.pop(name, None)
    return query.urlencode()


def _back(page: str, query: str) -> HttpResponseRedirect:
    url = reverse(f"console:{page}")
    return HttpResponseRedirect(f"{url}?{query}" if query else url)


urlpatterns = [
    path("saved-views/<slug:page>/", save, name="save-view"),
    path("saved-views/<slug:page>/<int:view>/delete/", delete, name="delete-view"),
]
