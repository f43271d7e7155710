-- The message that a message answers, by its ebMS MessageId: what links the two pushes of a two-way exchange.

ALTER TABLE messages ADD COLUMN ref_to_message_id TEXT;
