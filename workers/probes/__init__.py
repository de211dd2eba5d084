"""The worker's health and metrics, served by a process of their own."""
