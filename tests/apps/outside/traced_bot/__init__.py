"""An app from outside that logs lines and writes spans of its own, where OpenTelemetry is installed."""
