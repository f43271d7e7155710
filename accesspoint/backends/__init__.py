"""Where received messages go in the organisation's own systems."""
