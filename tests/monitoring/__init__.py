"""The dashboard's queries on a real Prometheus that scrapes real processes under load; a picture of what it answers.

    python -m tests.monitoring --seconds 420 --output docs/images/dashboard-queries.svg

It needs the program `prometheus`, of Debian's package of that name. No Grafana takes part:
`workers/capacity/drawing.py` draws the panels of `dashboard.json` from Prometheus' own answers.
"""
