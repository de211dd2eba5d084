"""An app that notes how its program ends, in the file that CLINGING_NOTES names."""
