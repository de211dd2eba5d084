"""`python -m workers …` is `celery …`, but leaves without the interpreter's finalisation (webhooks/leaving.py).

A worker's parent, and Flower, have daemon threads when they end.
"""

from celery.__main__ import main

from webhooks.leaving import run_and_leave

if __name__ == "__main__":
    run_and_leave(main)
