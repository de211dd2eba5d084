"""What Home shows, each part from a few short queries: `standing` the state of things, `charts` their course,
`heat` the handlers by hour, `issues` what fails. `pages/home.py` puts them together.
"""
