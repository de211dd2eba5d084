"""From the inbox to the broker, and the relay's other work."""
