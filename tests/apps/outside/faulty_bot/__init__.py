"""An app whose subscriptions have every fault that the system checks know, one each."""
