"""A team's app, as the fault suite installs it: what its load runs, well-behaved and poisonous."""
