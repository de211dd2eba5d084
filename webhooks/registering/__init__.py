"""Makes a GitHub App from a manifest, for `manage.py app_manifest`: a form on this machine, and what GitHub gives back."""
