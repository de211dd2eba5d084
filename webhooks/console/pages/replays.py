"""Replays."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from webhooks.console.access import page


@page("view_delivery")
def replays(request: HttpRequest) -> HttpResponse:
    return render(request, "console/base.html", {"title": "Replays"})


urlpatterns = [path("replays/", replays, name="replays")]
