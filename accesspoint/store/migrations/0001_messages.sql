-- Everything an access point owes somebody is a row here: messages, their history, receipts and duplicate keys.
-- Times are microseconds since the epoch, UTC. The states are the tables of envelope/sending.py and envelope/receiving.py.

CREATE TABLE messages (
  id TEXT PRIMARY KEY,
  direction TEXT NOT NULL CHECK (direction IN ('out', 'in')),
  state TEXT NOT NULL CHECK (
    (direction = 'out' AND state IN ('ACCEPTED', 'RESOLVED', 'READY', 'SENDING', 'RETRY_WAIT', 'ACKNOWLEDGED',
      'REFUSED', 'UNCERTAIN', 'EXPIRED', 'REJECTED', 'FAILED', 'CANCELLED', 'NOTIFIED', 'PURGED'))
    OR (direction = 'in' AND state IN ('RECEIVED', 'DELIVERING', 'DELIVERED', 'DELIVERY_WAIT', 'HELD',
      'QUARANTINED', 'PURGED'))),
  message_id TEXT NOT NULL,
  conversation_id TEXT NOT NULL,
  party TEXT NOT NULL,
  envelope_id TEXT NOT NULL,
  message_identifier TEXT NOT NULL,
  standard TEXT NOT NULL,
  original_sender TEXT NOT NULL,
  final_recipient TEXT NOT NULL,
  document_id TEXT NOT NULL,
  process_id TEXT NOT NULL,
  facts TEXT NOT NULL,
  payload TEXT,
  payload_bytes BIGINT NOT NULL,
  payload_sha256 TEXT NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0,
  arrival_possible INTEGER NOT NULL DEFAULT 0,
  next_at BIGINT NOT NULL,
  lease_owner TEXT,
  lease_until BIGINT,
  problem TEXT,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX messages_due ON messages (direction, state, next_at);
CREATE INDEX messages_identifier ON messages (message_identifier);
CREATE UNIQUE INDEX messages_outbound_id ON messages (direction, party, message_id);

CREATE TABLE history (
  seq {serial},
  message TEXT NOT NULL REFERENCES messages (id),
  from_state TEXT,
  to_state TEXT NOT NULL,
  at BIGINT NOT NULL,
  note TEXT
);
CREATE INDEX history_message ON history (message);

-- The signed image of an outbound message: what a retry sends again, byte for byte.
CREATE TABLE wires (
  message TEXT PRIMARY KEY REFERENCES messages (id),
  url TEXT NOT NULL,
  certificate {blob} NOT NULL,
  signed_at TEXT NOT NULL,
  soap {blob} NOT NULL,
  part TEXT,
  part_content_id TEXT,
  part_bytes BIGINT NOT NULL,
  signed_references TEXT NOT NULL
);

CREATE TABLE receipts (
  message TEXT PRIMARY KEY REFERENCES messages (id),
  body {blob} NOT NULL,
  signer TEXT NOT NULL,
  at BIGINT NOT NULL
);

CREATE TABLE duplicates (
  party TEXT NOT NULL,
  message_id TEXT NOT NULL,
  content_digest TEXT NOT NULL,
  signed_digest TEXT NOT NULL,
  message TEXT NOT NULL REFERENCES messages (id),
  at BIGINT NOT NULL,
  PRIMARY KEY (party, message_id)
);

CREATE TABLE refusals (
  seq {serial},
  at BIGINT NOT NULL,
  gate TEXT NOT NULL,
  reason TEXT NOT NULL,
  code TEXT,
  peer TEXT NOT NULL,
  certificate TEXT,
  input_sha256 TEXT NOT NULL,
  input_bytes BIGINT NOT NULL
);

-- The message service handler: one row per ehmiSBDH envelope, sent or received.
CREATE TABLE envelopes (
  direction TEXT NOT NULL CHECK (direction IN ('out', 'in')),
  envelope_id TEXT NOT NULL,
  message_identifier TEXT NOT NULL,
  standard TEXT NOT NULL,
  sender TEXT NOT NULL,
  receiver TEXT NOT NULL,
  header {blob} NOT NULL,
  payload_sha256 TEXT NOT NULL,
  repetition INTEGER NOT NULL DEFAULT 0,
  acknowledgement TEXT NOT NULL CHECK (acknowledgement IN ('none', 'awaited', 'positive', 'negative')),
  acknowledgement_identifier TEXT,
  due_at BIGINT,
  created_at BIGINT NOT NULL,
  acknowledged_at BIGINT,
  PRIMARY KEY (direction, envelope_id)
);
CREATE INDEX envelopes_message ON envelopes (direction, message_identifier);
-- Of a message, for its sender and receiver, one envelope is processed; of two at the same moment, one starts over.
CREATE UNIQUE INDEX envelopes_processed ON envelopes (message_identifier, sender, receiver)
  WHERE direction = 'in' AND repetition = 0;

-- The end-user edge: one row per MedCom FHIR message, sent or received.
CREATE TABLE documents (
  direction TEXT NOT NULL CHECK (direction IN ('out', 'in')),
  message_identifier TEXT NOT NULL,
  id TEXT NOT NULL,
  event_code TEXT NOT NULL,
  sender TEXT NOT NULL,
  receiver TEXT NOT NULL,
  media_type TEXT NOT NULL,
  payload TEXT,
  payload_bytes BIGINT NOT NULL,
  payload_sha256 TEXT NOT NULL,
  acknowledgement TEXT NOT NULL
    CHECK (acknowledgement IN ('none', 'awaited', 'ok', 'fatal-error', 'transient-error')),
  delivered_at BIGINT,
  created_at BIGINT NOT NULL,
  acknowledged_at BIGINT,
  PRIMARY KEY (id)
);
CREATE INDEX documents_message ON documents (direction, message_identifier);
CREATE UNIQUE INDEX documents_sent ON documents (message_identifier) WHERE direction = 'out';
-- The identifier of a message is its sender's: nobody blocks the message of another by using its identifier first.
CREATE UNIQUE INDEX documents_received ON documents (message_identifier, sender, receiver) WHERE direction = 'in';

-- What waits to be handed to the next station of the same organisation, or to the backend; what is set aside is
-- kept and brought to nobody.
CREATE TABLE handovers (
  id TEXT PRIMARY KEY,
  target TEXT NOT NULL CHECK (target IN ('up', 'down', 'backend')),
  kind TEXT NOT NULL CHECK (kind IN ('document', 'envelope')),
  message_identifier TEXT NOT NULL,
  item TEXT NOT NULL,
  act TEXT NOT NULL,
  facts TEXT NOT NULL,
  media_type TEXT NOT NULL,
  payload TEXT NOT NULL,
  payload_bytes BIGINT NOT NULL,
  payload_sha256 TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'set-aside')),
  attempts INTEGER NOT NULL DEFAULT 0,
  next_at BIGINT NOT NULL,
  lease_owner TEXT,
  lease_until BIGINT,
  problem TEXT,
  created_at BIGINT NOT NULL,
  done_at BIGINT
);
CREATE INDEX handovers_due ON handovers (state, next_at);
CREATE TABLE handovers_taken (
  id TEXT PRIMARY KEY,
  at BIGINT NOT NULL
);

-- What people and programs follow live: every step as it became durable.
CREATE TABLE journal (
  seq {serial},
  at BIGINT NOT NULL,
  station TEXT NOT NULL,
  event TEXT NOT NULL,
  message_identifier TEXT NOT NULL,
  subject TEXT NOT NULL,
  standard TEXT NOT NULL,
  problem TEXT,
  detail TEXT NOT NULL
);
CREATE INDEX journal_message ON journal (message_identifier);
