"""Which trace a delivery belongs to (`context.py`), and the spans of it (`spans.py`, with OpenTelemetry `sdk.py`)."""
