-- The destination that an outbound message goes to, by host and port; empty until it is looked up. Only what waits
-- is in the indexes by which workers find their messages, so they stay small however many messages are done.

ALTER TABLE messages ADD COLUMN lane TEXT NOT NULL DEFAULT '';
CREATE INDEX messages_lanes ON messages (lane, next_at)
  WHERE direction = 'out' AND state IN ('ACCEPTED', 'RESOLVED', 'READY', 'RETRY_WAIT', 'UNCERTAIN');
CREATE INDEX messages_to_deliver ON messages (next_at)
  WHERE direction = 'in' AND state IN ('RECEIVED', 'DELIVERY_WAIT');
CREATE INDEX messages_of_a_person ON messages (state) WHERE state IN ('UNCERTAIN', 'HELD', 'QUARANTINED');
DROP INDEX messages_due;
-- With the direction first a planner takes it for the way to everything sent, which is everything ever sent.
DROP INDEX messages_outbound_id;
CREATE UNIQUE INDEX messages_outbound_id ON messages (party, message_id, direction);
-- An uncertain message waits for a person or a late receipt, not for a time.
UPDATE messages SET next_at = 9000000000000000 WHERE state = 'UNCERTAIN';
