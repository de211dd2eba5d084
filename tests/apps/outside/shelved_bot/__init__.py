"""An app that nobody installs; another one imports something from it."""
