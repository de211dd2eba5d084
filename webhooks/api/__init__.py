"""The API for people's tokens: it hands out stored deliveries, and changes nothing. `manage.py pull` asks it."""
