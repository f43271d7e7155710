-- Delivery events on their way to the status component: written in the business commit, sent at least once.
-- A row waits until next_at, which is also the lease while a process sends it; times are microseconds, UTC.

CREATE TABLE outbox (
  seq {serial},
  event_id TEXT NOT NULL UNIQUE,
  aggregate TEXT NOT NULL,
  station TEXT NOT NULL,
  device_id TEXT NOT NULL,
  subtype TEXT NOT NULL,
  sor TEXT NOT NULL,
  gln TEXT NOT NULL,
  body TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'parked')),
  attempts INTEGER NOT NULL DEFAULT 0,
  next_at BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  sent_at BIGINT,
  problem TEXT
);
-- Both look-ups concern waiting rows only, and those are few however many have been sent.
CREATE INDEX outbox_due ON outbox (next_at) WHERE state = 'waiting';
CREATE INDEX outbox_order ON outbox (aggregate, seq) WHERE state = 'waiting';
CREATE INDEX outbox_aggregate ON outbox (aggregate);
