"""Queues."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from webhooks.console.access import page


@page("view_delivery")
def queues(request: HttpRequest) -> HttpResponse:
    return render(request, "console/base.html", {"title": "Queues"})


urlpatterns = [path("queues/", queues, name="queues")]
