"""An app from outside with a handler of an event that GitHub does not document, and no other fault."""
