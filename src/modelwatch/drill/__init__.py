"""`modelwatch drill`: breaks a service on purpose, and proves that every alert fires, reaches its receiver and ends."""
