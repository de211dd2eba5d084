"""How a call of GitHub's API can fail. No error shows a credential."""


class ApiError(Exception):
    """The call was not answered as wanted. The message has words to put after "GitHub"."""


class LimitedError(ApiError):
    """A rate limit leaves no call, for longer than a pass waits."""

    def __init__(self, reason: str, *, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


class UnavailableError(ApiError):
    """No answer, or an error of the server's, after several tries."""


class RefusedError(ApiError):
    """GitHub understood, and refuses: the credential, the permission, the address."""

    def __init__(self, reason: str, *, status: int) -> None:
        super().__init__(reason)
        self.status = status


class StoppedError(Exception):
    """This process was asked to stop, or another has taken the log over."""
