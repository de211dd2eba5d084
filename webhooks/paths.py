"""The paths that machines ask for: webhooks, probes and metrics. Each stands here and nowhere else in a program."""

WEBHOOKS = "/webhooks/"
"""What a source's webhook URL begins with; its name follows."""
LIVEZ = "/livez"
READYZ = "/readyz"
STARTUPZ = "/startupz"
METRICS = "/metrics"
PROBES = frozenset({LIVEZ, READYZ, STARTUPZ, METRICS})
