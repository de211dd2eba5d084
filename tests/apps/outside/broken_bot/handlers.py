"""Imports what is not there."""

import a_library_that_nobody_installed  # type: ignore[import-not-found]  # noqa: F401
