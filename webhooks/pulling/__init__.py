"""Pulls stored deliveries from another installation into this one, for `manage.py pull` on a developer's machine."""
