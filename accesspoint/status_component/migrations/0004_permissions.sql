-- Whom a citizen lets see where messages about it are (user story P7). Ended ones stay: who could see what, and when.

CREATE TABLE permissions (
  id       {serial},
  patient  TEXT NOT NULL,
  relative TEXT NOT NULL,
  given_at BIGINT NOT NULL,
  ended_at BIGINT
);
CREATE UNIQUE INDEX permissions_patient ON permissions (patient, relative) WHERE ended_at IS NULL;
CREATE INDEX permissions_relative ON permissions (relative) WHERE ended_at IS NULL;
