"""The process of a worker that claims jobs for its children and records their outcomes; it serves the probes too."""
