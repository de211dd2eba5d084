"""The paths that machines ask for: webhooks, probes and metrics. Programs take them only from here."""

WEBHOOKS = "/webhooks/"
"""The beginning of a webhook URL's path; the source's name follows."""
API = "/api/"
"""The beginning of the paths of the API, for people's tokens. They take Django's whole way, as pages do."""
LIVEZ = "/livez"
READYZ = "/readyz"
STARTUPZ = "/startupz"
METRICS = "/metrics"
PROBES = frozenset({LIVEZ, READYZ, STARTUPZ, METRICS})
