"""Ways into the services of others: ASGI and FastAPI."""
