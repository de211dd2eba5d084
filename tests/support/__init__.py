"""What tests share: programs to start, servers to stand in for, rows to begin with."""
