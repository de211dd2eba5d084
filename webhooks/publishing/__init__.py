"""From the inbox to the broker, and what the relay tends beside that."""
