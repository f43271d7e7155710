-- A hand-over may be brought to one of several systems of the backend ('backend:NAME'), or wait as what is to be shared:
-- the copy that goes to the document register once the message was acknowledged. The rules of a table cannot be
-- changed in place in both dialects, so the rows move to a new table.

DROP INDEX handovers_due;
DROP INDEX handovers_payload;
DROP INDEX handovers_age;
DROP INDEX handovers_message;
ALTER TABLE handovers RENAME TO handovers_before;
CREATE TABLE handovers (
  id TEXT PRIMARY KEY,
  target TEXT NOT NULL CHECK (target IN ('up', 'down', 'backend', 'submitter', 'sharing') OR target LIKE 'backend:%'),
  kind TEXT NOT NULL CHECK (kind IN ('document', 'envelope', 'outcome')),
  message_identifier TEXT NOT NULL,
  item TEXT NOT NULL,
  act TEXT NOT NULL,
  facts TEXT NOT NULL,
  media_type TEXT NOT NULL,
  payload TEXT,
  payload_bytes BIGINT NOT NULL,
  payload_sha256 TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'set-aside')),
  attempts INTEGER NOT NULL DEFAULT 0,
  next_at BIGINT NOT NULL,
  lease_owner TEXT,
  lease_until BIGINT,
  problem TEXT,
  created_at BIGINT NOT NULL,
  done_at BIGINT,
  lease_epoch BIGINT NOT NULL DEFAULT 0,
  CHECK ((kind = 'outcome') = (payload IS NULL))
);
INSERT INTO handovers SELECT * FROM handovers_before;
DROP TABLE handovers_before;
CREATE INDEX handovers_due ON handovers (state, next_at);
CREATE INDEX handovers_payload ON handovers (payload) WHERE payload <> '';
CREATE INDEX handovers_age ON handovers (created_at);
CREATE INDEX handovers_message ON handovers (message_identifier);
-- What our own message service handler sent without anybody having submitted it: its end is told to nobody outside.
ALTER TABLE messages ADD COLUMN unasked INTEGER NOT NULL DEFAULT 0;
