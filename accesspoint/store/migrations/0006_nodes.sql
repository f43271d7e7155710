-- Several nodes over one store. Each claim of a row counts its epoch up, so that a worker that slept past its lease is
-- told from the one that has the row now, even when both are one process. The nodes write down that they live.

ALTER TABLE messages ADD COLUMN lease_epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE handovers ADD COLUMN lease_epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE journal ADD COLUMN node TEXT NOT NULL DEFAULT '';

CREATE TABLE nodes (
  owner TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  schema_version INTEGER NOT NULL,
  started_at BIGINT NOT NULL,
  seen_at BIGINT NOT NULL
);
