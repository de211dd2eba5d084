"""The inbox: what is stored of deliveries and jobs, and every way in which that changes."""
