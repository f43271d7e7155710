-- compatible: 11
-- What becomes of an envelope that nobody acknowledges, and by what a repetition is known. `look_at` is when the next
-- step of waiting is due: an alert, then perhaps the same message in another envelope; without it nothing is due. The
-- identifier of the Bundle tells a message that its application sent again from another one under its identifier;
-- `content_sha256` is of the message without what each sending makes anew, `answer` what its acknowledgement said,
-- `refusal` what a negative acknowledgement of an envelope said.

ALTER TABLE envelopes ADD COLUMN look_at BIGINT;
ALTER TABLE envelopes ADD COLUMN alerted_at BIGINT;
ALTER TABLE envelopes ADD COLUMN refusal TEXT;
ALTER TABLE envelopes ADD COLUMN bundle_identifier TEXT NOT NULL DEFAULT '';
UPDATE envelopes SET look_at = due_at WHERE direction = 'out' AND acknowledgement = 'awaited';
CREATE INDEX envelopes_look ON envelopes (look_at) WHERE acknowledgement = 'awaited' AND look_at IS NOT NULL;

ALTER TABLE documents ADD COLUMN bundle_identifier TEXT NOT NULL DEFAULT '';
ALTER TABLE documents ADD COLUMN content_sha256 TEXT NOT NULL DEFAULT '';
ALTER TABLE documents ADD COLUMN answer TEXT NOT NULL DEFAULT '';
CREATE INDEX documents_bundle ON documents (bundle_identifier) WHERE direction = 'in';
