"""A job's run in a child process, and what becomes of it when the child ends first."""
