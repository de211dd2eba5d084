"""A stand-in for GitHub, written to its documented contract: https://docs.github.com/en/rest/apps/webhooks

`log.py` has the deliveries, `limits.py` what is allowed, `server.py` answers over HTTP.
"""
