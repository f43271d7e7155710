"""The rest of EHMI in miniature: locator, publisher, status component, authorization, revocation point.

Small real servers on loopback, speaking the real protocols, for the demo, for development and for tests.
None of them is meant to face a network.
"""
