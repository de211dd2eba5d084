"""One module a page: its views, and their paths as `urlpatterns`."""
