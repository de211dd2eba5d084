"""Replays: `scope.py` says which jobs are in one, `counting.py` counts them, `life.py` is what people do to a replay,
`running.py` carries it out, in steps that the relay takes."""
