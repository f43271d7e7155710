-- The keys that submitters gave their requests: what was asked, by its digest, and what was answered, word for word.

CREATE TABLE submissions (
  idempotency_key TEXT PRIMARY KEY,
  request_sha256 TEXT NOT NULL,
  message_identifier TEXT NOT NULL,
  answer TEXT NOT NULL,
  at BIGINT NOT NULL
);
CREATE INDEX submissions_age ON submissions (at);
