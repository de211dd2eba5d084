"""Forks a process that becomes a dispatcher, gets the signal that its parent has ended, and tells what that came to.

Its parent has a handler for the signal, as Celery has.
"""

import os
import signal

import django


def main() -> None:
    from workers.dispatcher.step import _detach

    signal.signal(signal.SIGTERM, lambda *_: print("swallowed", flush=True))
    parent = os.getpid()
    if not os.fork():
        _detach(parent, keep=[])
        os.kill(os.getpid(), signal.SIGTERM)
        print("waits" if signal.SIGTERM in signal.sigpending() else "gone", flush=True)
        os._exit(0)
    os.wait()


if __name__ == "__main__":
    django.setup()
    main()
