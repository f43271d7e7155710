-- What retention and the orphan sweeper look for. A payload that was let go is NULL, or '' where the row must have one;
-- these indexes hold only what is still there, which is a day's worth.

CREATE INDEX messages_payload ON messages (payload) WHERE payload <> '';
CREATE INDEX documents_payload ON documents (payload) WHERE payload <> '';
CREATE INDEX handovers_payload ON handovers (payload) WHERE payload <> '';
CREATE INDEX wires_part ON wires (part) WHERE part <> '';
CREATE INDEX envelopes_age ON envelopes (created_at);
CREATE INDEX documents_age ON documents (created_at);
CREATE INDEX handovers_age ON handovers (created_at);
CREATE INDEX handovers_taken_age ON handovers_taken (at);
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE state = 'sent';
