"""GitHub's side: signatures, payloads, the names of events, samples of them, and a client that sends them."""
