"""How long a process may take to stop, for those that stop it as well: supervisors, and the check of a deployment."""

RECONCILER_STOP_SECONDS = 20.0
"""From the stop signal until a reconciler has ended, whatever it does. A pass that is cut off is gone on with."""
