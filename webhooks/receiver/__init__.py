"""HTTP in: from the first byte of a request to the acknowledgement."""
