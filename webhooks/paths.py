"""The paths that machines ask for: webhooks, probes and metrics. Programs take them only from here."""

WEBHOOKS = "/webhooks/"
"""The beginning of a webhook URL's path; the source's name follows."""
API = "/api/"
"""The beginning of the paths of the API, which asks for a person's token. Not in PROBES: it takes Django's whole way."""
LIVEZ = "/livez"
READYZ = "/readyz"
STARTUPZ = "/startupz"
METRICS = "/metrics"
PROBES = frozenset({LIVEZ, READYZ, STARTUPZ, METRICS})
