"""Certificates, trust and private keys of the access point.

Whether a certificate is good enough is answered in three steps, each its own module:

* `keys.path` - does a path lead to an anchor of this purpose, valid in time, with the usage, the policy and
  the revocation status asked for? The answer is a `ValidatedCertificate`, or an exception that says why not.
* `keys.identity` - is it the certificate of the party that claims to speak?
* `keys.private` - the operations with our own keys, behind two small shapes.

Decisions are pure: times and revocation lists are handed in, nothing is fetched. Files are read and
written in `keys.store` only, `ssl` is known in `keys.tls` only. `keys.devca` makes throw-away certificates.
"""
