-- compatible: 11
-- Why exactly an event was not taken: the status and the elements that the status component named, never a value.

ALTER TABLE outbox ADD COLUMN detail TEXT;
