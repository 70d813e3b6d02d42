-- Webhooks of systems outside: what each signals, and the secret that they sign with, sealed.

SET ROLE haas_owner;
SET search_path = haas, public;

CREATE TABLE hooks (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  hook_id text NOT NULL CHECK (hook_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  signal text NOT NULL,
  plan_path text NOT NULL,
  value_path text NOT NULL,
  -- Of the secret: the key that it is sealed under, and its sealed bytes.
  key_id text NOT NULL,
  secret bytea NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, project_id, hook_id),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
SELECT haas.guard('haas.hooks');
GRANT SELECT, INSERT, DELETE, UPDATE (signal, plan_path, value_path, key_id, secret, updated_at) ON hooks TO haas_app;
