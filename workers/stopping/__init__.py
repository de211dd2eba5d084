"""How a worker stops: by whom, how long it waits, and what it hands back."""
