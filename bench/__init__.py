"""Measures modelwatch and its peers side by side: `python -m bench`. A benchmark is no test: it always exits with 0."""
