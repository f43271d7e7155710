-- compatible: 1
-- Failures are few, and SQLite takes the index of them only for the very words of its condition.

DROP INDEX events_failed;
CREATE INDEX events_failed ON events
  (recorded_at, seq, device, sender, receiver, standard, orig_standard, subtype) WHERE outcome = 8;
