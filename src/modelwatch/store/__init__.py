"""Where counts are kept: the host's own `live.db`."""
