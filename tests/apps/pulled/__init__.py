"""A team's app, as the process tests install it: handlers that behave well, badly and fatally, on demand.

What a handler is to do stands in the payload's `client_payload`. Each run appends one line to the file that
TRIAL_EFFECTS names, so that a test can count runs from outside of Hookline.
"""
