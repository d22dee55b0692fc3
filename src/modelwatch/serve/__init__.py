"""`modelwatch serve`: one process beside the service that looks, decides, tells, and shows."""
