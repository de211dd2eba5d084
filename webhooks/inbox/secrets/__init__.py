"""Webhook secrets in the database: read, added, retired, and what is known of each one's use."""
