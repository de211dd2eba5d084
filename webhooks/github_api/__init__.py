"""GitHub's REST API, as the reconciler and handlers use it: credentials, limits, tokens, clients."""
