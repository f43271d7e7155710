"""Delivery status: what each station tells the national status component about a message.

`events` says what happened, `auditevent` writes and checks the FHIR form, `outbox` keeps it in the same
commit as the business change, `relay` sends it at least once, `token` gets the certificate-bound tokens.
"""
