"""Durable state: one database of rows with owners and leases, and one directory of payload files.

Everything the access point has promised lives here and nowhere else; there is no queue in memory.

Spec: reliability sections 2.1 to 2.3.
"""
