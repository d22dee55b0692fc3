"""Ground truth: predictions kept for review, the labels that people give them, and who said what."""
