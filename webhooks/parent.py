"""What becomes of a process when the one that started it ends."""

import contextlib
import signal

from billiard.util import set_pdeathsig  # type: ignore[attr-defined]  # The stubs lack it.


def signal_at_parents_end(number: signal.Signals) -> None:
    """Have the kernel send this process a signal once its parent has ended. Elsewhere than on Linux, none is sent."""
    with contextlib.suppress(OSError):
        set_pdeathsig(number)
