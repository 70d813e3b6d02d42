-- A long plan as it stood after one of its events (haas_planner.snapshots): its next owner folds from there.

SET ROLE haas_owner;
SET search_path = haas, public;

CREATE TABLE plan_snapshots (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  plan_id text NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  form text NOT NULL,
  trace_id text NOT NULL,
  key_id text NOT NULL,
  body bytea NOT NULL,
  PRIMARY KEY (tenant_id, project_id, plan_id),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
ALTER TABLE plan_snapshots ALTER COLUMN body SET STORAGE EXTERNAL;
SELECT haas.guard('haas.plan_snapshots');
GRANT SELECT, INSERT, UPDATE (version, form, trace_id, key_id, body), DELETE ON plan_snapshots TO haas_app;
