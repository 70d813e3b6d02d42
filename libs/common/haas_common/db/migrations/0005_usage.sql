-- What a project used, by day: a read model that a tailing projector keeps (haas_gateway.usage).

SET ROLE haas_owner;
SET search_path = haas, public;

CREATE TABLE usage (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  -- In UTC.
  day date NOT NULL,
  metric text NOT NULL,
  amount bigint NOT NULL CHECK (amount > 0),
  PRIMARY KEY (tenant_id, project_id, day, metric),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
SELECT haas.guard('haas.usage');
GRANT SELECT ON usage TO haas_app;
GRANT SELECT, INSERT, UPDATE ON usage TO haas_projector;
