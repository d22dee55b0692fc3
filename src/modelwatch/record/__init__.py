"""The request path: what a service calls, and the thread that counts behind it."""
