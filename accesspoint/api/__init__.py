"""The REST interface for the organisation's own systems and people, on the local address of the node."""
