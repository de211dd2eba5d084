"""The inbox: the stored deliveries and jobs, and everything that changes them."""
