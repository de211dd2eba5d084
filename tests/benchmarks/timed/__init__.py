"""The app whose handlers the benchmarks have run."""
