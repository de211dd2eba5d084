"""The inbox: receive, verify, match, store, publish, relay, show. Start reading at `webhooks/receiver/intake.py`."""
