"""The paths that machines ask for: webhooks, probes and metrics. Programs take them only from here."""

WEBHOOKS = "/webhooks/"
"""The beginning of a webhook URL's path; the source's name follows."""
LIVEZ = "/livez"
READYZ = "/readyz"
STARTUPZ = "/startupz"
METRICS = "/metrics"
PROBES = frozenset({LIVEZ, READYZ, STARTUPZ, METRICS})
