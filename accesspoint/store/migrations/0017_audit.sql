-- compatible: 11
-- Who did what to what, when and why: the trail of people and of systems that act for them. Each row carries the digest
-- of the one before it, so that a row that was taken out or changed shows. Rows are never changed.

CREATE TABLE audit (
  seq {serial},
  at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  object TEXT NOT NULL,
  person TEXT,
  reason TEXT,
  previous TEXT NOT NULL UNIQUE,
  digest TEXT NOT NULL
);

-- only: sqlite
CREATE TRIGGER audit_written BEFORE UPDATE ON audit
BEGIN
  SELECT RAISE(ABORT, 'audit_written');
END;
-- only: postgresql
CREATE TRIGGER audit_written BEFORE UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_step();
