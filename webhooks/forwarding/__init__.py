"""Sends deliveries to destinations, in a child of a worker. No other process loads this package, nor httpx.

addresses  which addresses may be connected to
network    resolves a host, checks what it finds, and connects to just that; keeps the time limit
signing    the headers that sign a body
sending    one request, and what of its answer is read
handler    a run: what is sent, and what the answer means for the job
"""
