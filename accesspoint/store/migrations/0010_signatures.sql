-- What proves that the sender signed what we received, small and without the message: the canonical SignedInfo, which
-- holds every digest, the value over it, and the certificate, each of which is stored once. A message from before this
-- table has a row without them: its signature was verified when it came, and cannot be verified again.

CREATE TABLE signers (
  fingerprint TEXT PRIMARY KEY,
  certificate {blob} NOT NULL
);
CREATE TABLE signatures (
  message TEXT PRIMARY KEY REFERENCES messages (id),
  signer TEXT REFERENCES signers (fingerprint),
  algorithm TEXT,
  signed_info {blob},
  value {blob},
  at BIGINT NOT NULL,
  CHECK ((signer IS NULL) = (signed_info IS NULL) AND (signer IS NULL) = (value IS NULL)
    AND (signer IS NULL) = (algorithm IS NULL))
);
INSERT INTO signatures (message, at) SELECT id, created_at FROM messages WHERE direction = 'in';
