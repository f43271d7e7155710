-- compatible: 11
-- The audit log knows its last row, so that its end cannot be cut off, and numbers its rows without gaps. Rows go oldest
-- first, and only up to where `expired` says they are over. `detail` is what an act of the program tells besides,
-- such as the ids and digests of what retention let go of.

ALTER TABLE audit ADD COLUMN detail TEXT;
-- only: postgresql
ALTER TABLE audit ALTER COLUMN seq DROP IDENTITY;

CREATE TABLE audit_head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  seq BIGINT NOT NULL,
  digest TEXT NOT NULL,
  expired BIGINT NOT NULL
);
INSERT INTO audit_head (one, seq, digest, expired)
  SELECT 1, COALESCE(MAX(seq), 0),
    COALESCE((SELECT digest FROM audit ORDER BY seq DESC LIMIT 1),
      '0000000000000000000000000000000000000000000000000000000000000000'), 0
  FROM audit;

-- only: sqlite
CREATE TRIGGER audit_kept BEFORE DELETE ON audit
WHEN OLD.seq > (SELECT expired FROM audit_head)
BEGIN
  SELECT RAISE(ABORT, 'audit_kept');
END;

-- only: postgresql
CREATE FUNCTION check_audit_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.seq > (SELECT expired FROM audit_head) THEN
    RAISE EXCEPTION 'refused' USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN OLD;
END $$;
-- only: postgresql
CREATE TRIGGER audit_kept BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION check_audit_kept();
