"""The service with nothing that it does not need: its unit, its image, and a node that works under their limits."""
