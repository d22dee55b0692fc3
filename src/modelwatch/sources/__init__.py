"""Where tallies come from, and what they say: the state of a host, read from its `live.db`."""
