"""Who runs a command: the account of the operating system, as the audit names it."""

import getpass
import os


def account() -> str:
    """Return the account's name; its number where it has none, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
