"""Receiving: from the first byte of a request to a stored, answered message, and on to the next station."""
