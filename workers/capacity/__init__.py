"""How many workers, by which policy, at what cost: simulates a fleet of workers under a burst. Without I/O and Django.

jobs          what arrives: moments, and how long each handler computes and waits
processors    the cores, which the pods share
pods          a worker's pod: its start, its children, its stop
autoscaler    the HorizontalPodAutoscaler's algorithm, from metrics to a number of replicas
behavior      what limits a change of that number: stabilisation windows and policies
metrics       how old the figures are that an autoscaler sees
policies      the policies to compare, as the command line names them
simulation    the events in their order
results       waits, replica-hours and interrupted runs of a simulation
answer        the cheapest policy that is fast enough, or what holds all of them back
given         reads a deployment's numbers from its manifests
drawing, pictures    panels of lines, as SVG
"""
