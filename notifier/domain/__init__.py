"""The pure core: no I/O and no clients. It imports only itself, and pydantic for the event models."""
