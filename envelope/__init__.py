"""The protocol of an EHMI access point, pure: bytes and values in, bytes and values out.

Nothing here reads a clock, a socket, a file or a random source. An inbound message passes the gates in one order:
`mime` (G2), `xml.scan` (G3), `soap` and `messaging` (G4), `security_header` (G5), `wsse.authenticate` (G6),
`wsse.decrypt_key` (G7), `parts` (G8), `compression` (G9), `sbdh` (G10); each step takes only what the one before it gives.
"""
