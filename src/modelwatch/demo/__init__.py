"""The demo: a real sentiment service under realistic traffic, with incidents on a script."""
