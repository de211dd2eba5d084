"""An app from outside whose only fault is that two of its subscriptions have one name."""
