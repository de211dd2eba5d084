"""What tests of forwarding begin with. Django is not set up as this is read."""

from tests.inbox.conftest import each

__all__ = ["each"]
