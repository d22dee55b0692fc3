"""The first minute with modelwatch, and the tenth: write a configuration, see what it costs, find out what is wrong."""
