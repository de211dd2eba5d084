"""Random inputs in great numbers: `make fuzz` runs the long forms, `make test` the short ones."""
