-- The audit log of what people do at the pages: as the access point keeps it, see accesspoint/store/audit.py.

CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  object TEXT NOT NULL,
  person TEXT,
  reason TEXT,
  previous TEXT NOT NULL UNIQUE,
  digest TEXT NOT NULL,
  detail TEXT
);
CREATE TABLE audit_head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  seq BIGINT NOT NULL,
  digest TEXT NOT NULL,
  expired BIGINT NOT NULL
);
INSERT INTO audit_head VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0);
CREATE TRIGGER audit_written BEFORE UPDATE ON audit
BEGIN
  SELECT RAISE(ABORT, 'audit_written');
END;
CREATE TRIGGER audit_kept BEFORE DELETE ON audit
WHEN OLD.seq > (SELECT expired FROM audit_head)
BEGIN
  SELECT RAISE(ABORT, 'audit_kept');
END;
