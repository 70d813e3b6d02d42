-- The truth about the database. migrations/*.sql lead here; a house test compares the two.
--
-- Roles (made by haas_common.db.migrate before this runs):
--   haas_owner      owns the tables; nobody logs in as it
--   haas_writer     owns the functions that may do what the app may not; nobody logs in as it
--   haas_app        what the services log in as: owns nothing, no BYPASSRLS
--   haas_projector  what a tailing projector logs in as: reads the history, writes its read model, never appends
--   haas_backup     reads everything past row security, writes nothing
--
-- Every tenant table has FORCE ROW LEVEL SECURITY, a key that begins with tenant_id, and one policy: the row's
-- "tenant/project" is among the scopes of the signed, transaction-local context (design 8).

CREATE SCHEMA haas AUTHORIZATION haas_owner;
GRANT USAGE ON SCHEMA haas TO haas_app, haas_writer, haas_projector, haas_backup;
GRANT CREATE ON SCHEMA haas TO haas_writer;
SET ROLE haas_owner;
SET search_path = haas, public;

CREATE DOMAIN scope_id AS text CHECK (VALUE ~ '^([a-z0-9][a-z0-9-]{0,62}|[*])$');

-- ── The signed context ───────────────────────────────────────────────────────────────────────────────────────────

RESET ROLE;
SET ROLE haas_writer;

-- The HMAC key, already padded (RFC 2104); the app role cannot read it.
CREATE TABLE haas.context_keys (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  inner_pad bytea NOT NULL,
  outer_pad bytea NOT NULL
);

-- The facts of the context `haas.ctx`, once its signature, its age and its connection are verified:
-- {lease, scope, scope, …}. Raises 28000 for a missing, forged, expired or borrowed context.
CREATE FUNCTION haas.context() RETURNS text[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, haas, pg_temp
AS $$
DECLARE
  raw text := nullif(current_setting('haas.ctx', true), '');
  facts text;
  part text[];
  pads record;
BEGIN
  IF raw IS NULL THEN
    RAISE EXCEPTION 'no tenant context' USING ERRCODE = '28000';
  END IF;
  facts := substr(raw, 66);
  SELECT inner_pad, outer_pad INTO STRICT pads FROM haas.context_keys;
  IF left(raw, 65) <> encode(sha256(pads.outer_pad || sha256(pads.inner_pad || convert_to(facts, 'UTF8'))), 'hex') || '|' THEN
    RAISE EXCEPTION 'forged tenant context' USING ERRCODE = '28000';
  END IF;
  part := string_to_array(facts, '|');
  IF part[1]::int <> pg_backend_pid() THEN
    RAISE EXCEPTION 'tenant context of another connection' USING ERRCODE = '28000';
  END IF;
  IF part[2]::bigint < extract(epoch FROM transaction_timestamp()) THEN
    RAISE EXCEPTION 'expired tenant context' USING ERRCODE = '28000';
  END IF;
  RETURN part[3:];
END $$;

-- The scopes of the context, each "tenant/project".
CREATE FUNCTION haas.scopes() RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, haas, pg_temp
AS $$ SELECT (haas.context())[2:] $$;

-- The tenants of the context.
CREATE FUNCTION haas.tenants() RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, haas, pg_temp
AS $$ SELECT array_agg(DISTINCT split_part(s, '/', 1)) FROM unnest(haas.scopes()) AS s $$;

-- The lease that the context was signed for; '' for a tenant's own.
CREATE FUNCTION haas.lease() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, haas, pg_temp
AS $$ SELECT (haas.context())[1] $$;

REVOKE ALL ON FUNCTION haas.context(), haas.scopes(), haas.tenants(), haas.lease() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION haas.scopes(), haas.tenants(), haas.lease() TO haas_app, haas_owner, haas_projector;

RESET ROLE;
SET ROLE haas_owner;

-- ── What belongs to the fleet ────────────────────────────────────────────────────────────────────────────────────

-- Who owns a shard or a relay, and since which epoch. A writer locks its row FOR SHARE inside haas.append.
CREATE TABLE leases (
  name text PRIMARY KEY,
  owner text NOT NULL DEFAULT '',
  epoch bigint NOT NULL DEFAULT 0,
  expires_at timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO leases (name) SELECT 'shard/' || n FROM generate_series(0, 15) AS n;
INSERT INTO leases (name) VALUES ('relay/notifier'), ('relay/audit'), ('relay/usage'), ('relay/history'),
  ('relay/agents');
GRANT SELECT, UPDATE ON leases TO haas_app;
-- FOR SHARE on a lease asks for this.
GRANT SELECT, UPDATE ON leases TO haas_writer;

-- How far a relay has read the log: everything up to (xid, id).
CREATE TABLE relay_cursors (
  name text PRIMARY KEY,
  xid xid8 NOT NULL,
  id bigint NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON relay_cursors TO haas_app;

-- ── Tenants ──────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE tenants (
  tenant_id scope_id PRIMARY KEY,
  display_name text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  -- The cell that the events of its projects go to; haas.append reads it for a project's first event alone.
  cell smallint NOT NULL DEFAULT 0 CHECK (cell >= 0),
  -- How many of its tasks run at once (0: no limit of its own), and its share beside other tenants.
  tasks_max int NOT NULL DEFAULT 0 CHECK (tasks_max >= 0),
  weight smallint NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 100)
);

CREATE TABLE projects (
  tenant_id scope_id NOT NULL REFERENCES tenants,
  project_id scope_id NOT NULL,
  display_name text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, project_id)
);

CREATE TABLE profiles (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  profile_id text NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  yaml text NOT NULL,
  hash text NOT NULL,
  published_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, project_id, profile_id, version),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);

-- A project's own documents; the bytes lie in the blob store under `ref`.
CREATE TABLE documents (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  name text NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  ref text NOT NULL,
  size_bytes bigint NOT NULL,
  published_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, project_id, name, version),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
CREATE INDEX documents_by_ref ON documents (tenant_id, project_id, ref);

-- Uploaded files, by hash.
CREATE TABLE inputs (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  ref text NOT NULL,
  name text NOT NULL,
  size_bytes bigint NOT NULL,
  row_count bigint NOT NULL DEFAULT 0,
  columns text[] NOT NULL DEFAULT '{}',
  broken_rows bigint NOT NULL DEFAULT 0,
  lenient boolean NOT NULL DEFAULT false,
  uploaded_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, project_id, ref),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);

-- Idempotency (design 4): what a request_id led to. A claim that outlives `claimed_until` may be taken over.
CREATE TABLE requests (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  method text NOT NULL,
  request_id text NOT NULL,
  fingerprint text NOT NULL,
  claim_token text NOT NULL DEFAULT '',
  claimed_until timestamptz,
  result json,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, project_id, method, request_id),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
CREATE INDEX requests_by_age ON requests (created_at);

-- ── The history ──────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE project_heads (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  last_seq bigint NOT NULL CHECK (last_seq > 0),
  -- How many streams it has; the cell that its events go to.
  streams bigint NOT NULL DEFAULT 0 CHECK (streams >= 0),
  cell smallint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, project_id),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);

CREATE TABLE stream_heads (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  stream text NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  -- The hash and the seq of its last event; its place among the project's streams, from 0, in order of appearance.
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  last_seq bigint NOT NULL CHECK (last_seq > 0),
  ordinal bigint NOT NULL CHECK (ordinal >= 0),
  PRIMARY KEY (tenant_id, project_id, stream),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
CREATE UNIQUE INDEX stream_heads_by_ordinal ON stream_heads (tenant_id, project_id, ordinal);

-- `payload` is json, not jsonb: it keeps the exact bytes, which are what `hash` covers (design 21).
-- `id` and `xid` order the log for readers across tenants; the hash does not cover them, nor `cell`.
-- Partitioned by cell, then by ranges of `id` (design 23): haas.keep_partitions makes them. What is unique is unique in
-- each partition, and over all of them by the heads, which append locks.
CREATE TABLE events (
  id bigint GENERATED ALWAYS AS IDENTITY,
  cell smallint NOT NULL DEFAULT 0,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  tenant_id scope_id NOT NULL CHECK (tenant_id <> '*'),
  project_id scope_id NOT NULL,
  seq bigint NOT NULL CHECK (seq > 0),
  stream text NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  event_type text NOT NULL,
  schema_version smallint NOT NULL DEFAULT 1,
  plan_id text NOT NULL DEFAULT '',
  task_id text NOT NULL DEFAULT '',
  actor text NOT NULL,
  causation_id text NOT NULL DEFAULT '',
  correlation_id text NOT NULL DEFAULT '',
  trace_id text NOT NULL DEFAULT '',
  payload json NOT NULL,
  recorded_at timestamptz NOT NULL,
  hash bytea NOT NULL CHECK (octet_length(hash) = 32)
) PARTITION BY LIST (cell);

-- ── Plans ────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Commands to a plan (design 2): durable, unique by request, decided by the owner of the plan's shard.
CREATE TABLE plan_commands (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  plan_id text NOT NULL,
  request_id text NOT NULL,
  shard smallint NOT NULL CHECK (shard BETWEEN 0 AND 15),
  kind text NOT NULL
    CHECK (kind IN ('create', 'run', 'cancel', 'pause', 'resume', 'signal', 'approve', 'retry', 'skip', 'rerun', 'replan')),
  fingerprint text NOT NULL,
  body json NOT NULL,
  actor text NOT NULL,
  trace_id text NOT NULL DEFAULT '',
  position bigint GENERATED ALWAYS AS IDENTITY,
  -- pending → decided
  decided_at timestamptz,
  -- {"state": …} or {"reason": …, "message": …, "metadata": {…}}
  result json,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, project_id, plan_id, request_id),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects,
  CHECK ((decided_at IS NULL) = (result IS NULL))
);
CREATE INDEX plan_commands_pending ON plan_commands (shard, position) WHERE decided_at IS NULL;

CREATE TABLE plans (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  plan_id text NOT NULL,
  shard smallint NOT NULL CHECK (shard BETWEEN 0 AND 15),
  -- created → running ⇄ paused; running → compensating; running | compensating → completed | failed | cancelled;
  -- created → cancelled; completed | failed | cancelled → running (reopened)
  state text NOT NULL CHECK (state IN ('created', 'running', 'paused', 'compensating', 'completed', 'failed', 'cancelled')),
  objective text NOT NULL,
  intent text NOT NULL,
  language text NOT NULL,
  brief_artifact_id text NOT NULL,
  profile_id text NOT NULL,
  profile_version bigint NOT NULL,
  revision int NOT NULL,
  tasks_total int NOT NULL,
  tasks_by_state json NOT NULL,
  failure text NOT NULL DEFAULT '',
  last_seq bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  -- When it goes on by itself, in microseconds of the epoch: 0 at once, -1 only by a command.
  wake_us bigint NOT NULL DEFAULT -1,
  PRIMARY KEY (tenant_id, project_id, plan_id),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
CREATE INDEX plans_by_time ON plans (tenant_id, project_id, created_at DESC, plan_id DESC);
CREATE INDEX plans_waking ON plans (shard, wake_us) WHERE wake_us >= 0;

CREATE TABLE tasks_read (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  plan_id text NOT NULL,
  task_id text NOT NULL,
  -- planned → ready → running → completed | failed; running → ready (again); running → expanded → ready; planned → waiting
  status text NOT NULL
    CHECK (status IN ('planned', 'ready', 'running', 'expanded', 'waiting', 'completed', 'failed', 'cancelled', 'skipped', 'superseded')),
  kind text NOT NULL,
  skill text NOT NULL,
  title text NOT NULL,
  owner_agent_id text NOT NULL,
  attempt int NOT NULL DEFAULT 0,
  artifact_ids text[] NOT NULL DEFAULT '{}',
  failure text NOT NULL DEFAULT '',
  -- The id's numbers, so that T-2 comes before T-10.
  order_key int[] NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, project_id, plan_id, task_id),
  FOREIGN KEY (tenant_id, project_id, plan_id) REFERENCES plans
);

CREATE TABLE task_edges (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  plan_id text NOT NULL,
  from_task text NOT NULL,
  to_task text NOT NULL,
  PRIMARY KEY (tenant_id, project_id, plan_id, from_task, to_task),
  FOREIGN KEY (tenant_id, project_id, plan_id) REFERENCES plans
);
CREATE INDEX task_edges_upwards ON task_edges (tenant_id, project_id, plan_id, to_task);

-- Who holds the slots of a concurrency key: rows, never a counter. A tenant's own limit stands under the project "*".
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

-- Tools that failed lately: closed (until_us 0), or left alone until then.
CREATE TABLE breakers (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  tool text NOT NULL,
  failures int NOT NULL CHECK (failures >= 0),
  until_us bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, project_id, tool),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);

-- The newest version of each artifact; its history is the stream artifact/<id>.
CREATE TABLE artifacts_read (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  artifact_id text NOT NULL,
  path text NOT NULL,
  type text NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  hash_prev text NOT NULL,
  hash_curr text NOT NULL,
  -- The blob's address: the hash of the whole file.
  ref text NOT NULL,
  signer text NOT NULL,
  signature text NOT NULL,
  plan_id text NOT NULL DEFAULT '',
  task_id text NOT NULL DEFAULT '',
  status text NOT NULL CHECK (status IN ('draft', 'in_progress', 'final', 'superseded', 'invalid')),
  size_bytes bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, project_id, artifact_id),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
CREATE INDEX artifacts_by_plan ON artifacts_read (tenant_id, project_id, plan_id, artifact_id);

CREATE TABLE resource_locks (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  path text NOT NULL,
  locked_by text NOT NULL,
  fence bigint NOT NULL,
  locked_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, project_id, path),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);

-- Envelopes (plan §4.4), one per receiver and cause.
CREATE TABLE notifications (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  -- The event that caused it.
  seq bigint NOT NULL,
  receiver_id text NOT NULL,
  message_id text NOT NULL,
  envelope json NOT NULL,
  sent_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, project_id, seq, receiver_id),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
CREATE INDEX notifications_inbox ON notifications (tenant_id, project_id, receiver_id, seq DESC);

-- What a project used, by day: a read model that a tailing projector keeps (haas_gateway.usage).
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

-- Who is registered for what. Both are the planner's (haas_planner.agents).
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

-- What a projector measures of their work.
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

-- ── Policies and privileges ──────────────────────────────────────────────────────────────────────────────────────

DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['profiles', 'documents', 'inputs', 'requests', 'project_heads', 'stream_heads', 'events',
                           'tasks_read', 'task_edges', 'artifacts_read', 'resource_locks', 'notifications',
                           'usage', 'task_slots', 'breakers', 'agents', 'agent_results'] LOOP
    EXECUTE format('ALTER TABLE haas.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY one_scope ON haas.%I
      USING ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[]))
      WITH CHECK ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[]))', t);
  END LOOP;
  -- The owner of a shard finds its work before it knows whose it is.
  FOREACH t IN ARRAY ARRAY['plans', 'plan_commands'] LOOP
    EXECUTE format('ALTER TABLE haas.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY one_scope ON haas.%I
      USING ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[])
             OR ''shard/'' || shard = (SELECT haas.lease()))
      WITH CHECK ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[]))', t);
  END LOOP;
END $$;

-- A relay finds the projects that there are; a tenant's admin its own; the operator (scope "*/*") all.
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON tenants
  USING (tenant_id = ANY ((SELECT haas.tenants())::text[]) OR '*' = ANY ((SELECT haas.tenants())::text[]))
  WITH CHECK (tenant_id = ANY ((SELECT haas.tenants())::text[]));
ALTER TABLE projects ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON projects
  USING ((tenant_id || '/' || project_id) = ANY ((SELECT haas.scopes())::text[])
         OR (tenant_id || '/*') = ANY ((SELECT haas.scopes())::text[])
         OR '*/*' = ANY ((SELECT haas.scopes())::text[])
         OR (SELECT haas.lease()) LIKE 'relay/%')
  WITH CHECK ((tenant_id || '/' || project_id) = ANY ((SELECT haas.scopes())::text[])
         OR (tenant_id || '/*') = ANY ((SELECT haas.scopes())::text[]));

GRANT SELECT, INSERT ON tenants, projects, profiles, documents, inputs TO haas_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON requests TO haas_app;
GRANT SELECT ON project_heads, stream_heads, events TO haas_app;
GRANT SELECT, INSERT, UPDATE ON plan_commands, plans, tasks_read, artifacts_read, notifications TO haas_app;
GRANT SELECT, INSERT, DELETE ON task_edges TO haas_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON resource_locks TO haas_app;
GRANT UPDATE (tasks_max, weight) ON tenants TO haas_app;
GRANT SELECT, INSERT ON events TO haas_writer;
GRANT SELECT, INSERT, UPDATE ON project_heads, stream_heads TO haas_writer;
GRANT SELECT (tenant_id, cell) ON tenants TO haas_writer;

-- Whoever holds no lease moves none: not even a statement that was slipped into a tenant's transaction.
ALTER TABLE leases ENABLE ROW LEVEL SECURITY;
CREATE POLICY holders ON leases
  USING (true) WITH CHECK (split_part(name, '/', 1) = split_part((SELECT haas.lease()), '/', 1));
ALTER TABLE relay_cursors ENABLE ROW LEVEL SECURITY;
CREATE POLICY holders ON relay_cursors USING (true) WITH CHECK ('relay/' || name = (SELECT haas.lease()));

-- ── Narrow roles ─────────────────────────────────────────────────────────────────────────────────────────────────

-- A tailing projector reads the history and writes its own read model; it cannot append.
GRANT SELECT ON projects, project_heads, events TO haas_projector;
GRANT SELECT, INSERT, UPDATE ON relay_cursors TO haas_projector;
GRANT SELECT, UPDATE ON leases TO haas_projector;
-- A backup reads everything but the key of the contexts, which the next migration writes anew.
DO $$
DECLARE
  relation regclass;
BEGIN
  FOR relation IN SELECT c.oid FROM pg_class AS c
                   WHERE c.relnamespace = 'haas'::regnamespace AND c.relowner = 'haas_owner'::regrole AND c.relkind IN ('r', 'p', 'S') LOOP
    EXECUTE format('GRANT SELECT ON %s TO haas_backup', relation);
  END LOOP;
END $$;
ALTER DEFAULT PRIVILEGES FOR ROLE haas_owner IN SCHEMA haas GRANT SELECT ON TABLES TO haas_backup;
ALTER DEFAULT PRIVILEGES FOR ROLE haas_owner IN SCHEMA haas GRANT SELECT ON SEQUENCES TO haas_backup;

GRANT SELECT ON usage TO haas_app;
GRANT SELECT, INSERT, UPDATE ON usage TO haas_projector;
GRANT SELECT, INSERT, DELETE ON task_slots TO haas_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON breakers TO haas_app;
GRANT SELECT, INSERT, UPDATE ON agents, agent_results TO haas_app;

-- ── Hot tables ───────────────────────────────────────────────────────────────────────────────────────────────────

-- Rows that are updated all the time: room on the page for the next version (no index changes), and cleaned up early.
ALTER TABLE project_heads SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
ALTER TABLE stream_heads SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
ALTER TABLE leases SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);
ALTER TABLE relay_cursors SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);
ALTER TABLE plans SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE tasks_read SET (autovacuum_vacuum_scale_factor = 0.05, fillfactor = 50);
ALTER TABLE plan_commands SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE requests SET (autovacuum_vacuum_scale_factor = 0.05);

-- ── Partitions of the history ───────────────────────────────────────────────────────────────────────────────────

-- Gives a table of the history what every tenant table has: forced row security and the one policy.
CREATE FUNCTION haas.guard(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, haas, pg_temp
AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', relation);
  EXECUTE format('CREATE POLICY one_scope ON %s
    USING ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[]))
    WITH CHECK ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[]))', relation);
END $$;
REVOKE ALL ON FUNCTION haas.guard(regclass) FROM PUBLIC;

-- Makes the nth range of a cell, five million ids, unless it is there; says whether it did. Attaching an empty table
-- blocks nobody.
CREATE FUNCTION haas.add_range(cell_table text, n bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, haas, pg_temp
AS $$
DECLARE
  part text := cell_table || '_p' || n;
BEGIN
  IF to_regclass('haas.' || part) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE haas.%I (LIKE haas.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02)', part);
  EXECUTE format('CREATE UNIQUE INDEX %I ON haas.%I (tenant_id, project_id, seq)', part || '_by_seq', part);
  EXECUTE format('CREATE UNIQUE INDEX %I ON haas.%I (tenant_id, project_id, stream, version)', part || '_by_stream', part);
  EXECUTE format('CREATE INDEX %I ON haas.%I (tenant_id, project_id, plan_id, seq) WHERE plan_id <> ''''', part || '_by_plan', part);
  EXECUTE format('CREATE INDEX %I ON haas.%I (xid, id)', part || '_by_commit', part);
  PERFORM haas.guard(('haas.' || part)::regclass);
  EXECUTE format('ALTER TABLE haas.%I ATTACH PARTITION haas.%I FOR VALUES FROM (%s) TO (%s)', cell_table, part,
                 n * 5000000, (n + 1) * 5000000);
  RETURN true;
END $$;
REVOKE ALL ON FUNCTION haas.add_range(text, bigint) FROM PUBLIC;

-- Makes the ranges that the next events need: in every cell the one that is being written and the one after it. Returns
-- how many it made.
CREATE FUNCTION haas.keep_partitions() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, haas, pg_temp
AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('haas.keep_partitions'));
  RETURN (
    SELECT count(*) FILTER (WHERE haas.add_range(c.relname, s.last_value / 5000000 + ahead))
      FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid, haas.events_id_seq AS s, generate_series(0, 1) AS ahead
     WHERE i.inhparent = 'haas.events'::regclass
  );
END $$;
REVOKE ALL ON FUNCTION haas.keep_partitions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION haas.keep_partitions() TO haas_app;

-- Makes a cell: partitions of its own for the tenants whose project_heads.cell names it. For the operator, not the app.
CREATE FUNCTION haas.add_cell(number smallint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, haas, pg_temp
AS $$
DECLARE
  cell_table text := 'events_c' || number;
BEGIN
  EXECUTE format('CREATE TABLE haas.%I (LIKE haas.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (id)', cell_table);
  PERFORM haas.guard(('haas.' || cell_table)::regclass);
  EXECUTE format('ALTER TABLE haas.events ATTACH PARTITION haas.%I FOR VALUES IN (%s)', cell_table, number);
  PERFORM haas.keep_partitions();
END $$;
REVOKE ALL ON FUNCTION haas.add_cell(smallint) FROM PUBLIC;
SELECT haas.add_cell(0::smallint);

RESET ROLE;
SET ROLE haas_writer;
SET search_path = haas, public;

-- ── Append ───────────────────────────────────────────────────────────────────────────────────────────────────────

-- One link: SHA-256 over the domain, the hash before it, and the event's framed fields (docs/reference/hashing.md).
-- In PL/pgSQL: an aggregate calls an SQL function at twice the price.
CREATE FUNCTION haas.chain_link(so_far bytea, before bytea, body bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$ BEGIN
  RETURN sha256('\x686161732e6576656e742e763100'::bytea || coalesce(so_far, before) || body);
END $$;

-- The framed fields of an event, in their order: each its length in bytes (4, big-endian), then its bytes, UTF-8.
-- That is how an array's elements look on the wire, behind 20 bytes of header (dimensions, flags, type, size, bound); texts
-- in the client's encoding. One call instead of sixty: 0.8 µs an event beside 15.
CREATE FUNCTION haas.event_body(
  tenant_id text, project_id text, seq bigint, stream text, version bigint, event_type text, schema_version smallint,
  plan_id text, task_id text, actor text, causation_id text, correlation_id text, trace_id text,
  recorded_us bigint, payload text
) RETURNS bytea
LANGUAGE sql STABLE
AS $$
  SELECT substr(array_send(ARRAY[
    tenant_id, project_id, seq::text, stream, version::text, event_type, schema_version::text, plan_id, task_id, actor,
    causation_id, correlation_id, trace_id, recorded_us::text, payload
  ]), 21)
$$;

CREATE AGGREGATE haas.chain(bytea, bytea) (SFUNC = haas.chain_link, STYPE = bytea);

-- Appends a batch of events in one order, or nothing at all.
--
-- `doc` is one text: the batch's streams, U+001D, its events. Streams, and events, are apart by U+001E, their fields by
-- U+001F; JSON holds no such character, and reading it takes a fifth of what a JSON document of the same takes. A stream:
-- tenant_id, project_id, stream, expected_version ('' for none), each stream once. An event: which of them it is of, from 1;
-- event_type, schema_version, plan_id, task_id, actor, causation_id, correlation_id, trace_id, payload.
--
-- With a lease: its row is locked FOR SHARE and its epoch compared, so that a writer whose lease was taken over can
-- never write (a plain read let it through in 457 of 710 takeovers). A project's head is locked first and serialises all
-- that is appended to the project, so that its streams' heads are read and written without a lock of their own.
-- Raises HA001 (lease lost) and HA002 (a stream is not at its expected version; the detail names it).
CREATE FUNCTION haas.append(doc text, lease_name text DEFAULT NULL, lease_epoch bigint DEFAULT NULL)
RETURNS TABLE (recorded_at timestamptz, seqs bigint[], versions bigint[], hashes bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, haas, pg_temp
-- One plan for all batches: planning the statements anew costs more than a better plan gives (1.1 to 1.4 times at 10 to 100).
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  whose text[];
  field text[];
  head record;
  known record;
  link bytea;
  base bigint;
  streams text[] := string_to_array(split_part(doc, E'\x1d', 1), E'\x1e');
  lines text[] := string_to_array(split_part(doc, E'\x1d', 2), E'\x1e');
  wanted json;
  bases json;
  events bigint;
  projects bigint;
  fresh bigint;
  clash text;
  places bigint[];
  at timestamptz;
  at_us bigint;
BEGIN
  IF lease_name IS NOT NULL THEN
    PERFORM 1 FROM haas.leases AS l WHERE l.name = lease_name AND l.epoch = lease_epoch FOR SHARE;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'lease lost' USING ERRCODE = 'HA001', DETAIL = lease_name;
    END IF;
  END IF;

  -- Fields are framed as the client is sent them.
  IF pg_client_encoding() <> 'UTF8' THEN
    RAISE EXCEPTION 'a client of append speaks UTF8' USING ERRCODE = '22023';
  END IF;

  -- Most appends are a few events of one stream. What follows does the same for any batch, but its statements take 0.5 ms
  -- to start, these 0.3 with the first event and 0.03 with each that follows.
  IF cardinality(streams) = 1 AND cardinality(lines) <= 8 THEN
    whose := string_to_array(streams[1], E'\x1f');
    events := cardinality(lines);
    INSERT INTO haas.project_heads AS h (tenant_id, project_id, last_seq) VALUES (whose[1], whose[2], events)
    ON CONFLICT (tenant_id, project_id) DO UPDATE SET last_seq = h.last_seq + excluded.last_seq
    RETURNING h.tenant_id, h.project_id, h.last_seq - events AS before, h.streams, h.cell INTO head;
    SELECT h.version, h.hash, h.ordinal INTO known FROM haas.stream_heads AS h
     WHERE h.tenant_id = head.tenant_id AND h.project_id = head.project_id AND h.stream = whose[3];
    base := coalesce(known.version, 0);
    IF whose[4] <> '' AND whose[4] <> base::text THEN
      RAISE EXCEPTION 'stream version conflict' USING ERRCODE = 'HA002', DETAIL = whose[3];
    END IF;
    IF head.before = 0 THEN
      SELECT t.cell INTO head.cell FROM haas.tenants AS t WHERE t.tenant_id = head.tenant_id;
    END IF;
    IF base = 0 THEN
      UPDATE haas.project_heads AS h SET streams = h.streams + 1, cell = head.cell
       WHERE h.tenant_id = head.tenant_id AND h.project_id = head.project_id;
    END IF;
    -- The clock is read behind the lock, as below.
    at := clock_timestamp();
    at_us := extract(epoch FROM at) * 1000000;
    link := coalesce(known.hash, decode(repeat('00', 32), 'hex'));
    recorded_at := at;
    hashes := '';
    FOR i IN 1..events LOOP
      field := string_to_array(lines[i], E'\x1f');
      IF cardinality(field) <> 10 OR field[1] <> '1' THEN
        RAISE EXCEPTION 'an event has 10 fields and a stream' USING ERRCODE = '22023';
      END IF;
      link := haas.chain_link(NULL, link, haas.event_body(
        head.tenant_id, head.project_id, head.before + i, whose[3], base + i, field[2], field[3]::smallint, field[4], field[5],
        field[6], field[7], field[8], field[9], at_us, field[10]));
      INSERT INTO haas.events (cell, tenant_id, project_id, seq, stream, version, event_type, schema_version, plan_id, task_id, actor,
                               causation_id, correlation_id, trace_id, payload, recorded_at, hash)
      VALUES (head.cell, head.tenant_id, head.project_id, head.before + i, whose[3], base + i, field[2], field[3]::smallint,
              field[4], field[5], field[6], field[7], field[8], field[9], field[10]::json, at, link);
      seqs[i] := head.before + i;
      versions[i] := base + i;
      hashes := hashes || link;
    END LOOP;
    INSERT INTO haas.stream_heads AS h (tenant_id, project_id, stream, version, hash, last_seq, ordinal)
    VALUES (head.tenant_id, head.project_id, whose[3], base + events, link, head.before + events,
            coalesce(known.ordinal, head.streams))
    ON CONFLICT (tenant_id, project_id, stream) DO UPDATE
       SET version = excluded.version, hash = excluded.hash, last_seq = excluded.last_seq;
    RETURN NEXT;
    RETURN;
  END IF;

  WITH counted AS (
    SELECT split_part(l, E'\x1f', 1)::bigint AS x, count(*) AS n, min(i) AS first
      FROM unnest(lines) WITH ORDINALITY AS l(l, i) GROUP BY 1
  ), named AS MATERIALIZED (
    SELECT x, f[1] AS t, f[2] AS p, f[3] AS s, f[4] AS expected, c.n, c.first
      FROM (SELECT x, string_to_array(l, E'\x1f') AS f FROM unnest(streams) WITH ORDINALITY AS l(l, x) OFFSET 0) AS l
      JOIN counted AS c USING (x)
  ), summed AS MATERIALIZED (
    SELECT t, p, sum(n)::bigint AS n, row_number() OVER () AS k FROM named GROUP BY 1, 2
  ), moved AS (
    INSERT INTO haas.project_heads AS h (tenant_id, project_id, last_seq)
    SELECT w.t, w.p, w.n FROM summed AS w ORDER BY 1, 2
    ON CONFLICT (tenant_id, project_id) DO UPDATE SET last_seq = h.last_seq + excluded.last_seq
    RETURNING h.tenant_id, h.project_id, h.last_seq, h.streams, h.cell
  ), placed AS (
    -- A project's first events: its tenant says where they go, which is looked up for them alone.
    SELECT w.*, m.last_seq - w.n AS b, m.streams AS o,
           CASE WHEN m.last_seq > w.n THEN m.cell
                ELSE (SELECT t.cell FROM haas.tenants AS t WHERE t.tenant_id = w.t) END AS c
      FROM moved AS m JOIN summed AS w ON w.t = m.tenant_id AND w.p = m.project_id
  )
  SELECT json_agg(json_build_object('x', x, 't', n.t, 'p', n.p, 's', s, 'e', expected, 'n', n.n, 'f', first, 'k', k, 'b', b, 'o', o,
                                    'c', c)),
         sum(n.n), max(k)
    INTO wanted, events, projects
    FROM named AS n JOIN placed AS p ON p.t = n.t AND p.p = n.p;

  -- With the heads locked: a fresh snapshot sees every stream as it stands.
  WITH placed AS (
    SELECT w.*, coalesce(h.version, 0) AS v, coalesce(encode(h.hash, 'hex'), repeat('00', 32)) AS h,
           coalesce(h.ordinal, w.o + count(*) FILTER (WHERE h.version IS NULL) OVER (PARTITION BY w.k ORDER BY w.f) - 1) AS ordinal
      FROM json_to_recordset(wanted) AS w(x bigint, t text, p text, s text, e text, n bigint, f bigint, k bigint, b bigint, o bigint,
                                          c smallint)
      LEFT JOIN LATERAL (SELECT h.version, h.hash, h.ordinal FROM haas.stream_heads AS h
                          WHERE h.tenant_id = w.t AND h.project_id = w.p AND h.stream = w.s OFFSET 0) AS h ON true
  )
  SELECT json_agg(json_build_object('x', x, 't', t, 'p', p, 's', s, 'v', v, 'l', v + n, 'o', ordinal, 'h', h, 'k', k, 'b', b, 'c', c)),
         count(*) FILTER (WHERE v = 0), min(s) FILTER (WHERE e <> '' AND e <> v::text)
    INTO bases, fresh, clash
    FROM placed AS w;
  IF events IS DISTINCT FROM cardinality(lines) OR json_array_length(bases) <> cardinality(streams) THEN
    RAISE EXCEPTION 'a stream without an event, or an event without one' USING ERRCODE = '22023';
  END IF;
  IF clash IS NOT NULL THEN
    RAISE EXCEPTION 'stream version conflict' USING ERRCODE = 'HA002', DETAIL = clash;
  END IF;
  IF fresh > 0 THEN
    UPDATE haas.project_heads AS h SET streams = h.streams + f.n, cell = f.c
      FROM (SELECT b.t, b.p, b.c, count(*) AS n FROM json_to_recordset(bases) AS b(t text, p text, v bigint, c smallint)
             WHERE b.v = 0 GROUP BY 1, 2, 3) AS f
     WHERE h.tenant_id = f.t AND h.project_id = f.p;
  END IF;
  IF projects > 1 THEN
    SELECT array_agg(n ORDER BY i) INTO places
      FROM (SELECT i, row_number() OVER (PARTITION BY b.k ORDER BY i) AS n
              FROM unnest(lines) WITH ORDINALITY AS l(l, i)
              JOIN json_to_recordset(bases) AS b(x bigint, k bigint) ON b.x = split_part(l, E'\x1f', 1)::bigint) AS e;
  END IF;

  -- The clock is read behind the lock: in the order of the sequence.
  at := clock_timestamp();
  at_us := extract(epoch FROM at) * 1000000;
  RETURN QUERY
  WITH numbered AS (
    SELECT b.x, b.t, b.p, b.s, b.c, b.o, b.l AS last_version, decode(b.h, 'hex') AS h, b.b + coalesce(places[i], i) AS seq,
           b.v + row_number() OVER (PARTITION BY b.x ORDER BY i) AS version, e.*
      FROM (SELECT i, f[1]::bigint AS of, f[2] AS event_type, f[3]::smallint AS schema_version, f[4] AS plan_id, f[5] AS task_id,
                   f[6] AS actor, f[7] AS causation_id, f[8] AS correlation_id, f[9] AS trace_id,
                   CASE WHEN cardinality(f) = 10 THEN f[10] END AS payload
              FROM (SELECT i, string_to_array(l, E'\x1f') AS f FROM unnest(lines) WITH ORDINALITY AS l(l, i) OFFSET 0) AS l
            OFFSET 0) AS e
      -- The domain is checked once a stream: as text, its pattern was matched twice for every event.
      JOIN json_to_recordset(bases) AS b(x bigint, t haas.scope_id, p haas.scope_id, s text, v bigint, l bigint, o bigint, h text, b bigint,
                                         c smallint)
        ON b.x = e.of
  ), linked AS MATERIALIZED (
    SELECT m.*, haas.chain(m.h, haas.event_body(m.t, m.p, m.seq, m.s, m.version, event_type, schema_version, plan_id, task_id,
                                              actor, causation_id, correlation_id, trace_id, at_us, payload)
           ) OVER (PARTITION BY m.x ORDER BY m.i) AS hash
      FROM numbered AS m ORDER BY m.i
  ), kept AS (
    INSERT INTO haas.events (cell, tenant_id, project_id, seq, stream, version, event_type, schema_version, plan_id, task_id, actor,
                             causation_id, correlation_id, trace_id, payload, recorded_at, hash)
    SELECT l.c, l.t, l.p, l.seq, l.s, l.version, event_type, schema_version, plan_id, task_id, actor, causation_id, correlation_id,
           trace_id, payload::json, at, l.hash
      FROM linked AS l
  ), headed AS (
    INSERT INTO haas.stream_heads AS h (tenant_id, project_id, stream, version, hash, last_seq, ordinal)
    SELECT l.t, l.p, l.s, l.version, l.hash, l.seq, l.o FROM linked AS l WHERE l.version = l.last_version
    ON CONFLICT (tenant_id, project_id, stream) DO UPDATE
       SET version = excluded.version, hash = excluded.hash, last_seq = excluded.last_seq
  )
  SELECT at, array_agg(l.seq), array_agg(l.version), string_agg(l.hash, ''::bytea)
    FROM linked AS l;
END $$;
REVOKE ALL ON FUNCTION haas.append(text, text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION haas.append(text, text, bigint) TO haas_app;

RESET ROLE;
REVOKE CREATE ON SCHEMA haas FROM haas_writer;

-- ── Personal data ────────────────────────────────────────────────────────────────────────────────────────────────

RESET ROLE;
SET ROLE haas_owner;
SET search_path = haas, public;

-- A key per project and person ('' for what is nobody's own), wrapped by the fleet's data.key. Destroying it erases
-- whatever was sealed under it; the row stays and says when.
CREATE TABLE data_keys (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  key_id text NOT NULL,
  subject text NOT NULL,
  wrapped bytea CHECK (octet_length(wrapped) = 64),
  created_at timestamptz NOT NULL DEFAULT now(),
  destroyed_at timestamptz,
  PRIMARY KEY (tenant_id, project_id, key_id),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects,
  CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);
CREATE UNIQUE INDEX data_keys_living ON data_keys (tenant_id, project_id, subject) WHERE destroyed_at IS NULL;

-- Blobs that an erasure removes: pending until the store has let go of them, so that a crash in between is made up for.
CREATE TABLE erased_blobs (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  ref text NOT NULL,
  erased_at timestamptz NOT NULL DEFAULT now(),
  deleted_at timestamptz,
  PRIMARY KEY (tenant_id, project_id, ref),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
CREATE INDEX erased_blobs_pending ON erased_blobs (tenant_id, project_id, ref) WHERE deleted_at IS NULL;

DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['data_keys', 'erased_blobs'] LOOP
    EXECUTE format('ALTER TABLE haas.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY one_scope ON haas.%I
      USING ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[]))
      WITH CHECK ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[]))', t);
  END LOOP;
END $$;

GRANT SELECT, INSERT, UPDATE (wrapped, destroyed_at) ON data_keys TO haas_app;
GRANT SELECT, INSERT, UPDATE (erased_at, deleted_at) ON erased_blobs TO haas_app;
-- What an erasure takes away.
GRANT DELETE ON inputs TO haas_app;

-- ── Replicas ─────────────────────────────────────────────────────────────────────────────────────────────────────

-- Who is there of a kind of instances that share leases, by the database's clock. Seen and written under the lease
-- `member/<kind>` alone.
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

-- ── Remote workers ───────────────────────────────────────────────────────────────────────────────────────────────

-- What the remote workers of a project can do, kept so that plans are validated while none is there.
CREATE TABLE worker_skills (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  skill text NOT NULL,
  agent_id text NOT NULL,
  -- {"title": …, "reads": [{"name": …, "type": …, "schema": …}], "writes": […]}
  contract json NOT NULL,
  registered_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, project_id, skill),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
SELECT haas.guard('haas.worker_skills');
GRANT SELECT, INSERT, DELETE, UPDATE (contract, registered_at) ON worker_skills TO haas_app;

-- Webhooks of systems outside: what each signals, and the secret that they sign with, sealed.
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

-- ── Long plans ───────────────────────────────────────────────────────────────────────────────────────────────────

-- A long plan as it stood after one of its events: its next owner folds from there. Derived; gone with the plan's end.
CREATE TABLE plan_snapshots (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  plan_id text NOT NULL,
  -- Of its stream: the last event that it holds.
  version bigint NOT NULL CHECK (version > 0),
  -- Which code can read it: another one folds from the first event.
  form text NOT NULL,
  trace_id text NOT NULL,
  -- Sealed under the key of whose plan it is.
  key_id text NOT NULL,
  body bytea NOT NULL,
  PRIMARY KEY (tenant_id, project_id, plan_id),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
ALTER TABLE plan_snapshots ALTER COLUMN body SET STORAGE EXTERNAL;
SELECT haas.guard('haas.plan_snapshots');
GRANT SELECT, INSERT, UPDATE (version, form, trace_id, key_id, body), DELETE ON plan_snapshots TO haas_app;

RESET ROLE;
