"""What worker_memory changes in its workers: `sitecustomize.py` beside this says how."""
