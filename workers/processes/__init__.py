"""A worker's child processes: what they share, what they leave behind, and when they are replaced."""
