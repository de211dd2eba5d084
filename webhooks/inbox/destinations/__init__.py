"""Destinations: handlers that an administrator makes on the console, and that send what they match to a URL.

known      the subscriptions of destinations, as every process has them
changing   what people change, and the record of it
breaker    after many failures, a destination's jobs wait, and one of them tries it again
standing   each destination as an operator looks at it
sealing    encrypts the secrets of destinations
testing    sends a test, as a job like any other
preview    which stored deliveries a filter matches
running    what a run needs of its destination
"""
