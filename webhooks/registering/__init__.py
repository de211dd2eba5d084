"""Makes a GitHub App from a manifest, for `manage.py app_manifest`: a form here, and what GitHub gives back."""
