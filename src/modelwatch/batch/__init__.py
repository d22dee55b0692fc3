"""Logs and training data of any size, as columns: what a service counts live, counted from files and frames."""
