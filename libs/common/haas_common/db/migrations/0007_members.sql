-- Replicas of a service that share its leases: each counts who else is there.

SET ROLE haas_owner;
SET search_path = haas, public;

CREATE TABLE members (
  kind text NOT NULL,
  instance text NOT NULL,
  address text NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (kind, instance)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);
ALTER TABLE members ENABLE ROW LEVEL SECURITY;
CREATE POLICY holders ON members
  USING ('member/' || kind = (SELECT haas.lease())) WITH CHECK ('member/' || kind = (SELECT haas.lease()));
GRANT SELECT, INSERT, UPDATE, DELETE ON members TO haas_app;
