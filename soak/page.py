"""The figures as a page."""
