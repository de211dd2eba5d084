"""Workers."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from webhooks.console.access import page


@page("view_delivery")
def workers(request: HttpRequest) -> HttpResponse:
    return render(request, "console/base.html", {"title": "Workers"})


urlpatterns = [path("workers/", workers, name="workers")]
