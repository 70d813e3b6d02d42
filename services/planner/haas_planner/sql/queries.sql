-- add_command --
-- Keeps a command, or finds the one that this request_id brought before.
INSERT INTO plan_commands (tenant_id, project_id, plan_id, request_id, shard, kind, fingerprint, body, actor, trace_id)
VALUES (%(tenant_id)s, %(project_id)s, %(plan_id)s, %(request_id)s, %(shard)s, %(kind)s, %(fingerprint)s, %(body)s::json,
        %(actor)s, %(trace_id)s)
ON CONFLICT (tenant_id, project_id, plan_id, request_id) DO NOTHING;

-- get_command --
-- A command and, once it is decided, its result.
SELECT kind, fingerprint, result
  FROM plan_commands
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s AND request_id = %(request_id)s;

-- pending_commands --
-- The commands that a shard's owner has to decide, in the order in which they came.
SELECT tenant_id, project_id, plan_id, request_id, kind, body, actor, trace_id
  FROM plan_commands
 WHERE shard = %(shard)s AND decided_at IS NULL
 ORDER BY position LIMIT %(limit)s;

-- pending_count --
-- How many commands wait in a shard, up to a bound.
SELECT count(*) AS n
  FROM (SELECT 1 FROM plan_commands WHERE shard = %(shard)s AND decided_at IS NULL LIMIT %(limit)s) AS waiting;

-- decide_commands --
-- Answers commands, all in one statement: [{tenant_id, project_id, plan_id, request_id, result}].
UPDATE plan_commands AS c SET decided_at = clock_timestamp(), result = d.result
  FROM json_to_recordset(%(rows)s::json) AS d(tenant_id text, project_id text, plan_id text, request_id text, result json)
 WHERE c.tenant_id = d.tenant_id AND c.project_id = d.project_id AND c.plan_id = d.plan_id AND c.request_id = d.request_id;

-- running_plans --
-- What a shard's new owner has to take up.
SELECT tenant_id, project_id, plan_id FROM plans WHERE shard = %(shard)s AND state = 'running' ORDER BY created_at;

-- plan_events --
-- A plan's stream from a version on, to be folded.
SELECT version, event_type, schema_version, task_id, actor, trace_id, payload
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND stream = %(stream)s AND version > %(after)s
 ORDER BY version LIMIT %(limit)s;

-- project_plans --
-- Puts plans as they stand into the read model.
INSERT INTO plans (tenant_id, project_id, plan_id, shard, state, objective, intent, language, brief_artifact_id, profile_id,
                   profile_version, revision, tasks_total, tasks_by_state, failure, last_seq, created_at, updated_at)
SELECT p.tenant_id, p.project_id, p.plan_id, p.shard, p.state, p.objective, p.intent, p.language, p.brief_artifact_id,
       p.profile_id, p.profile_version, p.revision, p.tasks_total, p.tasks_by_state, p.failure, p.last_seq, p.created_at,
       p.updated_at
  FROM json_to_recordset(%(rows)s::json) AS p(tenant_id text, project_id text, plan_id text, shard smallint, state text,
       objective text, intent text, language text, brief_artifact_id text, profile_id text, profile_version bigint, revision int,
       tasks_total int, tasks_by_state json, failure text, last_seq bigint, created_at timestamptz, updated_at timestamptz)
ON CONFLICT (tenant_id, project_id, plan_id) DO UPDATE
   SET state = excluded.state, revision = excluded.revision, tasks_total = excluded.tasks_total,
       tasks_by_state = excluded.tasks_by_state, failure = excluded.failure, last_seq = excluded.last_seq,
       updated_at = excluded.updated_at;

-- project_tasks --
-- Puts tasks as they stand into the read model.
INSERT INTO tasks_read (tenant_id, project_id, plan_id, task_id, status, kind, skill, title, owner_agent_id, attempt,
                        artifact_ids, failure, order_key, updated_at)
SELECT t.tenant_id, t.project_id, t.plan_id, t.task_id, t.status, t.kind, t.skill, t.title, t.owner_agent_id, t.attempt,
       t.artifact_ids, t.failure, t.order_key, t.updated_at
  FROM json_to_recordset(%(rows)s::json) AS t(tenant_id text, project_id text, plan_id text, task_id text, status text, kind text,
       skill text, title text, owner_agent_id text, attempt int, artifact_ids text[], failure text, order_key int[],
       updated_at timestamptz)
ON CONFLICT (tenant_id, project_id, plan_id, task_id) DO UPDATE
   SET status = excluded.status, attempt = excluded.attempt, artifact_ids = excluded.artifact_ids, failure = excluded.failure,
       updated_at = excluded.updated_at;

-- project_edges --
-- Adds the edges of tasks that were planned.
INSERT INTO task_edges (tenant_id, project_id, plan_id, from_task, to_task)
SELECT e.tenant_id, e.project_id, e.plan_id, e.from_task, e.to_task
  FROM json_to_recordset(%(rows)s::json) AS e(tenant_id text, project_id text, plan_id text, from_task text, to_task text)
ON CONFLICT DO NOTHING;

-- plan_exists --
-- Whether there is a plan by this id.
SELECT 1 AS found FROM plans WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s;
