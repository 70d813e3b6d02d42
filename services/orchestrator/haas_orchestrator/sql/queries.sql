-- get_request --
-- What a request_id led to.
SELECT fingerprint, result FROM requests
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND method = %(method)s AND request_id = %(request_id)s;

-- keep_request --
-- Keeps what a request_id leads to, with the writes that it made.
INSERT INTO requests (tenant_id, project_id, method, request_id, fingerprint, result)
VALUES (%(tenant_id)s, %(project_id)s, %(method)s, %(request_id)s, %(fingerprint)s, %(result)s::json);

-- get_plan --
-- A plan as it stands.
SELECT plan_id, state, objective, intent, language, brief_artifact_id, profile_id, profile_version, revision, tasks_total,
       tasks_by_state, failure, last_seq, created_at, updated_at
  FROM plans
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s;

-- list_plans --
-- A page of the project's plans, newest first, after a cursor.
SELECT plan_id, state, objective, intent, language, brief_artifact_id, profile_id, profile_version, revision, tasks_total,
       tasks_by_state, failure, last_seq, created_at, updated_at
  FROM plans
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s
   AND (created_at, plan_id) < (%(before)s::timestamptz, %(before_id)s)
 ORDER BY created_at DESC, plan_id DESC LIMIT %(limit)s;

-- planned_tasks --
-- The contracts of a plan's tasks, in the order in which they were planned.
SELECT schema_version, payload FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s AND stream = %(stream)s
   AND event_type = 'TaskPlanned'
 ORDER BY version LIMIT 20000;

-- plan_inputs --
-- The inputs that a plan was created with.
SELECT schema_version, payload FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND stream = %(stream)s AND version = 1;

-- list_tasks --
-- A page of a plan's tasks by id, after a cursor.
SELECT t.task_id, t.status, t.kind, t.skill, t.title, t.owner_agent_id, t.attempt, t.artifact_ids, t.failure, t.updated_at,
       ARRAY(SELECT e.from_task FROM task_edges AS e
              WHERE e.tenant_id = t.tenant_id AND e.project_id = t.project_id AND e.plan_id = t.plan_id AND e.to_task = t.task_id
              ORDER BY e.from_task) AS depends_on
  FROM tasks_read AS t
 WHERE t.tenant_id = %(tenant_id)s AND t.project_id = %(project_id)s AND t.plan_id = %(plan_id)s
   AND t.order_key > %(after)s::int[]
 ORDER BY t.order_key LIMIT %(limit)s;

-- descendants --
-- What depends on a task, at any distance, with where it stands (plan §4.1): a page by id, after a cursor.
WITH RECURSIVE found (task_id) AS (
  SELECT e.to_task FROM task_edges AS e
   WHERE e.tenant_id = %(tenant_id)s AND e.project_id = %(project_id)s AND e.plan_id = %(plan_id)s AND e.from_task = %(task_id)s
  UNION
  SELECT e.to_task FROM found AS f
    JOIN task_edges AS e ON e.tenant_id = %(tenant_id)s AND e.project_id = %(project_id)s AND e.plan_id = %(plan_id)s
                        AND e.from_task = f.task_id
)
SELECT t.task_id, t.status, t.kind, t.skill, t.title, t.owner_agent_id, (SELECT count(*) FROM found) AS total
  FROM tasks_read AS t
 WHERE t.tenant_id = %(tenant_id)s AND t.project_id = %(project_id)s AND t.plan_id = %(plan_id)s
   AND t.task_id = ANY (ARRAY(SELECT task_id FROM found)) AND t.order_key > %(after)s::int[]
 ORDER BY t.order_key LIMIT %(limit)s;

-- ancestors --
-- What a task depends on, at any distance, with where it stands: a page by id, after a cursor.
WITH RECURSIVE found (task_id) AS (
  SELECT e.from_task FROM task_edges AS e
   WHERE e.tenant_id = %(tenant_id)s AND e.project_id = %(project_id)s AND e.plan_id = %(plan_id)s AND e.to_task = %(task_id)s
  UNION
  SELECT e.from_task FROM found AS f
    JOIN task_edges AS e ON e.tenant_id = %(tenant_id)s AND e.project_id = %(project_id)s AND e.plan_id = %(plan_id)s
                        AND e.to_task = f.task_id
)
SELECT t.task_id, t.status, t.kind, t.skill, t.title, t.owner_agent_id, (SELECT count(*) FROM found) AS total
  FROM tasks_read AS t
 WHERE t.tenant_id = %(tenant_id)s AND t.project_id = %(project_id)s AND t.plan_id = %(plan_id)s
   AND t.task_id = ANY (ARRAY(SELECT task_id FROM found)) AND t.order_key > %(after)s::int[]
 ORDER BY t.order_key LIMIT %(limit)s;

-- task_exists --
-- Whether a plan has a task by this id.
SELECT 1 AS found FROM tasks_read
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s AND task_id = %(task_id)s;

-- plan_artifacts --
-- The ids of the artifacts that a plan has produced.
SELECT artifact_id FROM artifacts_read
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s
 ORDER BY artifact_id LIMIT 1000;

-- list_artifacts --
-- A page of the project's artifacts by id, or of one plan's.
SELECT artifact_id, path, type, version, hash_prev, hash_curr, ref, signer, signature, plan_id, task_id, status, size_bytes,
       created_at, updated_at
  FROM artifacts_read
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND (%(plan_id)s = '' OR plan_id = %(plan_id)s)
   AND artifact_id > %(after)s
 ORDER BY artifact_id LIMIT %(limit)s;

-- keep_input --
-- Keeps the facts of an uploaded file; the same file again changes nothing.
INSERT INTO inputs (tenant_id, project_id, ref, name, size_bytes, row_count, columns, broken_rows, lenient)
VALUES (%(tenant_id)s, %(project_id)s, %(ref)s, %(name)s, %(size_bytes)s, %(row_count)s, %(columns)s, %(broken_rows)s,
        %(lenient)s)
ON CONFLICT (tenant_id, project_id, ref) DO NOTHING;

-- known_inputs --
-- Which of these files were uploaded.
SELECT ref FROM inputs WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND ref = ANY (%(refs)s);
