-- Agents: who is registered for what, and what a projector in the planner measures of their work (haas_planner.agents).

SET ROLE haas_owner;
SET search_path = haas, public;

INSERT INTO leases (name) VALUES ('relay/agents');

CREATE TABLE agents (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  agent_id text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('leader', 'specialist')),
  -- None for a built-in agent that nobody registered: it keeps its own.
  skills text[] NOT NULL,
  -- How many tasks at a time; 0: no limit.
  running_max int NOT NULL CHECK (running_max >= 0),
  -- A leader's place by its results, 1 comes first; 0 while they have not moved it.
  rank int NOT NULL CHECK (rank >= 0),
  state text NOT NULL CHECK (state IN ('active', 'paused')),
  registered_at timestamptz,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, project_id, agent_id),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
SELECT haas.guard('haas.agents');

CREATE TABLE agent_results (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  agent_id text NOT NULL,
  skill text NOT NULL,
  -- In UTC.
  day date NOT NULL,
  completed bigint NOT NULL,
  failed bigint NOT NULL,
  duration_ms bigint NOT NULL,
  tokens bigint NOT NULL,
  money_micros bigint NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, project_id, agent_id, skill, day),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
SELECT haas.guard('haas.agent_results');

GRANT SELECT, INSERT, UPDATE ON agents, agent_results TO haas_app;
