-- Skills of remote workers (haas_planner.remote): kept, so that plans are validated while no worker is there.

SET ROLE haas_owner;
SET search_path = haas, public;

CREATE TABLE worker_skills (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  skill text NOT NULL,
  agent_id text NOT NULL,
  contract json NOT NULL,
  registered_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, project_id, skill),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
SELECT haas.guard('haas.worker_skills');
GRANT SELECT, INSERT, UPDATE (contract, registered_at) ON worker_skills TO haas_app;
