"""What `make runtime-test` runs: Hookline in an environment of requirements.lock alone, without the tests' packages.

    names   imports every module of ours, and everything that is named by a string
    roles   drives every role on each pair of database and broker, through deliveries to their outcomes

Nothing here imports what is in requirements-dev.lock alone; that environment's own Python runs it.
"""
