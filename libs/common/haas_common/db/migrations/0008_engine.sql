-- The wider life of plans: more states and kinds of commands, when a plan goes on by itself, slots and breakers.
SET ROLE haas_owner;
SET search_path = haas, public;

ALTER TABLE plan_commands DROP CONSTRAINT plan_commands_kind_check;
ALTER TABLE plan_commands ADD CONSTRAINT plan_commands_kind_check
  CHECK (kind IN ('create', 'run', 'cancel', 'pause', 'resume', 'signal', 'approve', 'retry', 'skip', 'rerun', 'replan'));
ALTER TABLE plans DROP CONSTRAINT plans_state_check;
ALTER TABLE plans ADD CONSTRAINT plans_state_check
  CHECK (state IN ('created', 'running', 'paused', 'compensating', 'completed', 'failed', 'cancelled'));
ALTER TABLE plans ADD COLUMN wake_us bigint NOT NULL DEFAULT -1;
ALTER TABLE tasks_read DROP CONSTRAINT tasks_read_status_check;
ALTER TABLE tasks_read ADD CONSTRAINT tasks_read_status_check
  CHECK (status IN ('planned', 'ready', 'running', 'expanded', 'waiting', 'completed', 'failed', 'cancelled', 'skipped', 'superseded'));
DROP INDEX plans_running;
CREATE INDEX plans_waking ON plans (shard, wake_us) WHERE wake_us >= 0;

ALTER TABLE tenants ADD COLUMN tasks_max int NOT NULL DEFAULT 0 CHECK (tasks_max >= 0);
ALTER TABLE tenants ADD COLUMN weight smallint NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 100);

CREATE TABLE task_slots (
  tenant_id scope_id NOT NULL REFERENCES tenants,
  project_id scope_id NOT NULL,
  key text NOT NULL,
  number int NOT NULL CHECK (number > 0),
  plan_project text NOT NULL,
  plan_id text NOT NULL,
  task_id text NOT NULL,
  taken_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, project_id, key, number),
  UNIQUE (tenant_id, project_id, plan_project, plan_id, task_id, key)
);

CREATE TABLE breakers (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  tool text NOT NULL,
  failures int NOT NULL CHECK (failures >= 0),
  until_us bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, project_id, tool),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);

DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['task_slots', 'breakers'] LOOP
    EXECUTE format('ALTER TABLE haas.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY one_scope ON haas.%I
      USING ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[]))
      WITH CHECK ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[]))', t);
  END LOOP;
END $$;
GRANT UPDATE (tasks_max, weight) ON tenants TO haas_app;
GRANT SELECT, INSERT, DELETE ON task_slots TO haas_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON breakers TO haas_app;

RESET ROLE;
UPDATE haas.plans SET wake_us = 0 WHERE state = 'running';
