-- The state tables of envelope/sending.py and envelope/receiving.py, and what makes the database hold every writer to them.
-- A step is a line of history; it must be in the table and go on from the line before it. The state of a message
-- may then become what the last line says, and nothing else. So several steps in one commit are several lines and
-- one change of state, and a state without its history cannot be written. Lines are never changed, and deleted
-- only when their message is PURGED.

CREATE TABLE transitions (
  direction TEXT NOT NULL CHECK (direction IN ('out', 'in')),
  from_state TEXT NOT NULL,
  to_state TEXT NOT NULL,
  PRIMARY KEY (direction, from_state, to_state)
);
INSERT INTO transitions (direction, from_state, to_state) VALUES
  ('out', 'ACCEPTED', 'RESOLVED'), ('out', 'ACCEPTED', 'REJECTED'), ('out', 'ACCEPTED', 'FAILED'),
  ('out', 'ACCEPTED', 'CANCELLED'),
  ('out', 'RESOLVED', 'READY'), ('out', 'RESOLVED', 'RETRY_WAIT'), ('out', 'RESOLVED', 'FAILED'),
  ('out', 'RESOLVED', 'CANCELLED'),
  ('out', 'READY', 'SENDING'), ('out', 'READY', 'CANCELLED'),
  ('out', 'SENDING', 'ACKNOWLEDGED'), ('out', 'SENDING', 'RETRY_WAIT'), ('out', 'SENDING', 'REFUSED'),
  ('out', 'SENDING', 'UNCERTAIN'),
  ('out', 'RETRY_WAIT', 'SENDING'), ('out', 'RETRY_WAIT', 'UNCERTAIN'), ('out', 'RETRY_WAIT', 'EXPIRED'),
  ('out', 'UNCERTAIN', 'ACKNOWLEDGED'), ('out', 'UNCERTAIN', 'NOTIFIED'),
  ('out', 'ACKNOWLEDGED', 'NOTIFIED'), ('out', 'REFUSED', 'NOTIFIED'), ('out', 'EXPIRED', 'NOTIFIED'),
  ('out', 'REJECTED', 'NOTIFIED'), ('out', 'FAILED', 'NOTIFIED'), ('out', 'CANCELLED', 'NOTIFIED'),
  ('out', 'NOTIFIED', 'PURGED'),
  ('in', 'RECEIVED', 'DELIVERING'), ('in', 'RECEIVED', 'HELD'),
  ('in', 'DELIVERING', 'DELIVERED'), ('in', 'DELIVERING', 'DELIVERY_WAIT'), ('in', 'DELIVERING', 'HELD'),
  ('in', 'DELIVERING', 'QUARANTINED'),
  ('in', 'DELIVERY_WAIT', 'DELIVERING'), ('in', 'DELIVERY_WAIT', 'HELD'),
  ('in', 'HELD', 'DELIVERY_WAIT'), ('in', 'HELD', 'QUARANTINED'),
  ('in', 'QUARANTINED', 'DELIVERY_WAIT'), ('in', 'QUARANTINED', 'PURGED'),
  ('in', 'DELIVERED', 'PURGED');

-- only: sqlite
CREATE TRIGGER messages_begin BEFORE INSERT ON messages
WHEN NEW.state NOT IN ('ACCEPTED', 'RECEIVED')
BEGIN
  SELECT RAISE(ABORT, 'messages_begin');
END;
-- only: sqlite
CREATE TRIGGER messages_state BEFORE UPDATE OF state ON messages
WHEN NEW.state <> OLD.state
  AND NEW.state IS NOT (SELECT to_state FROM history WHERE message = NEW.id ORDER BY seq DESC LIMIT 1)
BEGIN
  SELECT RAISE(ABORT, 'messages_state');
END;
-- only: sqlite
CREATE TRIGGER history_step BEFORE INSERT ON history
WHEN NEW.from_state IS NOT (SELECT to_state FROM history WHERE message = NEW.message ORDER BY seq DESC LIMIT 1)
  OR NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.id = NEW.message AND CASE
    WHEN NEW.from_state IS NULL THEN m.state = NEW.to_state
    ELSE EXISTS (SELECT 1 FROM transitions AS t
      WHERE t.direction = m.direction AND t.from_state = NEW.from_state AND t.to_state = NEW.to_state) END)
BEGIN
  SELECT RAISE(ABORT, 'history_step');
END;
-- only: sqlite
CREATE TRIGGER history_written BEFORE UPDATE ON history
BEGIN
  SELECT RAISE(ABORT, 'history_written');
END;
-- only: sqlite
CREATE TRIGGER history_kept BEFORE DELETE ON history
WHEN (SELECT state FROM messages WHERE id = OLD.message) IS NOT 'PURGED'
BEGIN
  SELECT RAISE(ABORT, 'history_kept');
END;

-- only: postgresql
CREATE FUNCTION refuse_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'refused' USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $$;
-- only: postgresql
CREATE FUNCTION check_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.state IS DISTINCT FROM (SELECT to_state FROM history WHERE message = NEW.id ORDER BY seq DESC LIMIT 1) THEN
    RAISE EXCEPTION 'refused' USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NEW;
END $$;
-- only: postgresql
CREATE FUNCTION check_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.from_state IS DISTINCT FROM (SELECT to_state FROM history WHERE message = NEW.message ORDER BY seq DESC LIMIT 1)
    OR NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.id = NEW.message AND CASE
      WHEN NEW.from_state IS NULL THEN m.state = NEW.to_state
      ELSE EXISTS (SELECT 1 FROM transitions AS t
        WHERE t.direction = m.direction AND t.from_state = NEW.from_state AND t.to_state = NEW.to_state) END)
  THEN
    RAISE EXCEPTION 'refused' USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NEW;
END $$;
-- only: postgresql
CREATE FUNCTION check_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT state FROM messages WHERE id = OLD.message) IS DISTINCT FROM 'PURGED' THEN
    RAISE EXCEPTION 'refused' USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN OLD;
END $$;
-- only: postgresql
CREATE TRIGGER messages_begin BEFORE INSERT ON messages FOR EACH ROW
  WHEN (NEW.state NOT IN ('ACCEPTED', 'RECEIVED')) EXECUTE FUNCTION refuse_step();
-- only: postgresql
CREATE TRIGGER messages_state BEFORE UPDATE OF state ON messages FOR EACH ROW
  WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION check_state();
-- only: postgresql
CREATE TRIGGER history_step BEFORE INSERT ON history FOR EACH ROW EXECUTE FUNCTION check_step();
-- only: postgresql
CREATE TRIGGER history_written BEFORE UPDATE ON history FOR EACH ROW EXECUTE FUNCTION refuse_step();
-- only: postgresql
CREATE TRIGGER history_kept BEFORE DELETE ON history FOR EACH ROW EXECUTE FUNCTION check_kept();
