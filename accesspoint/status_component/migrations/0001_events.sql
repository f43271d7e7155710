-- The delivery status component: one row for each report, with a column for everything that is searched.
-- Columns behind the first two of an index only spare the look into the row while many are passed over.

CREATE TABLE codes (
  id     {serial},
  system TEXT NOT NULL,
  code   TEXT NOT NULL,
  UNIQUE (code, system)
);

CREATE TABLE parties (
  id     {serial},
  sor    TEXT NOT NULL COLLATE NOCASE,
  glns   TEXT NOT NULL,              -- separated by blanks
  name   TEXT NOT NULL,
  folded TEXT NOT NULL,              -- the name without regard to case
  UNIQUE (sor, glns, name)
);

CREATE TABLE party_glns (
  gln   TEXT NOT NULL COLLATE NOCASE,
  party INTEGER NOT NULL REFERENCES parties (id),
  PRIMARY KEY (gln, party)
);

CREATE TABLE events (
  seq                {serial},
  id                 TEXT NOT NULL UNIQUE,  -- named by device, sub type, message and envelope: a repetition meets it
  recorded_at        BIGINT NOT NULL,       -- by the station's clock, microseconds
  received_at        BIGINT NOT NULL,       -- by ours
  outcome            INTEGER NOT NULL,
  device             INTEGER NOT NULL REFERENCES codes (id),
  station            INTEGER NOT NULL REFERENCES codes (id),
  type               INTEGER NOT NULL REFERENCES codes (id),
  subtype            INTEGER NOT NULL REFERENCES codes (id),
  standard           INTEGER NOT NULL REFERENCES codes (id),
  orig_standard      INTEGER REFERENCES codes (id),
  sender             INTEGER NOT NULL REFERENCES parties (id),
  receiver           INTEGER NOT NULL REFERENCES parties (id),
  message            TEXT NOT NULL COLLATE NOCASE,
  message_envelope   TEXT COLLATE NOCASE,
  transport_envelope TEXT COLLATE NOCASE,
  orig_message       TEXT COLLATE NOCASE,
  orig_envelope      TEXT COLLATE NOCASE,
  patient            TEXT COLLATE NOCASE
);

CREATE INDEX events_recorded ON events
  (recorded_at, seq, device, sender, receiver, standard, orig_standard, subtype, outcome);
CREATE INDEX events_device ON events
  (device, recorded_at, seq, sender, receiver, standard, orig_standard, subtype, outcome);
CREATE INDEX events_sender ON events
  (sender, recorded_at, seq, device, receiver, standard, orig_standard, subtype, outcome);
CREATE INDEX events_receiver ON events
  (receiver, recorded_at, seq, device, sender, standard, orig_standard, subtype, outcome);
CREATE INDEX events_standard ON events
  (standard, recorded_at, seq, device, sender, receiver, subtype, outcome);
CREATE INDEX events_orig_standard ON events
  (orig_standard, recorded_at, seq, device, sender, receiver, subtype, outcome) WHERE orig_standard IS NOT NULL;
CREATE INDEX events_failed ON events (outcome, recorded_at, seq) WHERE outcome <> 0;
CREATE INDEX events_message ON events (message, recorded_at);
CREATE INDEX events_message_envelope ON events (message_envelope, recorded_at) WHERE message_envelope IS NOT NULL;
CREATE INDEX events_transport_envelope ON events (transport_envelope, recorded_at) WHERE transport_envelope IS NOT NULL;
CREATE INDEX events_orig_message ON events (orig_message, recorded_at) WHERE orig_message IS NOT NULL;
CREATE INDEX events_orig_envelope ON events (orig_envelope, recorded_at) WHERE orig_envelope IS NOT NULL;
CREATE INDEX events_patient ON events (patient, recorded_at) WHERE patient IS NOT NULL;

CREATE TABLE resources (
  seq  BIGINT PRIMARY KEY REFERENCES events (seq),
  body {blob} NOT NULL               -- the JSON of the report, deflated
);

-- One row for each message, kept up to date with each event: what lists and overviews are made from.
CREATE TABLE messages (
  id           {serial},
  message      TEXT NOT NULL COLLATE NOCASE UNIQUE,
  standard     INTEGER NOT NULL REFERENCES codes (id),
  version      TEXT NOT NULL,
  sender       INTEGER NOT NULL REFERENCES parties (id),
  receiver     INTEGER NOT NULL REFERENCES parties (id),
  patient      TEXT COLLATE NOCASE,
  orig_message TEXT COLLATE NOCASE,
  orig_standard INTEGER REFERENCES codes (id),
  first_at     BIGINT NOT NULL,
  last_at      BIGINT NOT NULL,
  finalized_at BIGINT,               -- when its last station had it
  undelivered_at BIGINT,             -- when a station gave up passing it on
  refused_at   BIGINT,               -- when a station could not take it
  events       INTEGER NOT NULL
);

CREATE INDEX messages_first ON messages
  (first_at, id, standard, sender, receiver, finalized_at, undelivered_at, refused_at, orig_standard);
CREATE INDEX messages_sender ON messages (sender, first_at, id);
CREATE INDEX messages_receiver ON messages (receiver, first_at, id);
CREATE INDEX messages_patient ON messages (patient, first_at, id) WHERE patient IS NOT NULL;
CREATE INDEX messages_orig ON messages (orig_message) WHERE orig_message IS NOT NULL;
