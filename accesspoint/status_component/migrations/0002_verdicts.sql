-- What an acknowledgement says, as far as its reports tell: lists and the table of negative ones are made from it.

ALTER TABLE messages ADD COLUMN verdict TEXT;
CREATE INDEX messages_answers ON messages (first_at, orig_standard, standard, verdict) WHERE orig_standard IS NOT NULL;
