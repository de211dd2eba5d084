"""Counts by minute and by hour, made beside the work and not in its way, for every chart and large total.

`making.py` makes them from rows, in a relay; `reading.py` answers the console; `histogram.py` has the buckets. A claim,
a run and its record cost nothing for it.
"""
