"""Reads GitHub's own logs of deliveries, and takes in what is missing. `passes.py` keeps how far, `walk.py` does it."""
