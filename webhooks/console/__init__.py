"""The operator's console: what came, what ran, what waits and why, and what a person may do about it.

One file in `pages/` is one page, with its paths. `access.py` says who may see it, `keyset.py` pages through its rows.
"""
