"""Signing in: by name and password, for the console and the admin alike, and what stands in the way of guessing."""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.views import LoginView, LogoutView, PasswordChangeView
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse


class SignIn(LoginView):
    """The form, and the organisation's sign-in beside it if there is one."""

    template_name = "console/sign_in.html"
    redirect_authenticated_user = False

    def get_context_data(self, **given: Any) -> dict[str, Any]:
        return super().get_context_data(**given) | {
            "has_provider": settings.HOOKLINE_OIDC,
            "refused": "refused" in self.request.GET,
        }


class Password(PasswordChangeView):
    """Change one's own password."""

    template_name = "console/password.html"
    success_url = "/"
    extra_context = {"title": "Change my password"}


def admin_sign_in(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """Send who is not signed in from the admin to the one form. Who is, and got here, may not see the admin."""
    if request.user.is_authenticated:
        raise PermissionDenied
    wanted = request.GET.get("next") or reverse("admin:index")
    return HttpResponseRedirect(f"{reverse('console:sign-in')}?{urlencode({'next': wanted})}")


def client_address(request: HttpRequest) -> str:
    """Return the address that a sign-in comes from; behind the proxy, the one that the proxy itself has seen.

    Anybody can write the further entries of X-Forwarded-For.
    """
    forwarded = request.headers.get("X-Forwarded-For", "") if settings.HOOKLINE_BEHIND_PROXY else ""
    return forwarded.rpartition(",")[2].strip() or request.META.get("REMOTE_ADDR", "")


urlpatterns = [
    path("sign-in/", SignIn.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("password/", Password.as_view(), name="password"),
]
