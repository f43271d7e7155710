-- compatible: 11
-- When whoever sent a message was told that nobody has answered it in time. What waited before this stays as it is.

ALTER TABLE documents ADD COLUMN alerted_at BIGINT;
UPDATE documents SET alerted_at = created_at WHERE direction = 'out' AND acknowledgement = 'awaited';
CREATE INDEX documents_unanswered ON documents (created_at)
  WHERE direction = 'out' AND acknowledgement = 'awaited' AND alerted_at IS NULL;
