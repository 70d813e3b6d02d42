-- add_command --
-- Keeps a command, where its plan is there (if it must be) and fewer than `most` wait in its shard, as far as the context sees
-- them. Returns whether the plan is there, whether there was room, and whether the command is new: its request_id may have
-- brought it before.
WITH found AS MATERIALIZED (
  SELECT NOT %(must_exist)s::boolean
         OR EXISTS (SELECT FROM plans WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s) AS is_there,
         (SELECT count(*) FROM (SELECT FROM plan_commands WHERE shard = %(shard)s AND decided_at IS NULL LIMIT %(most)s) AS waiting)
         < %(most)s AS has_room
), added AS (
  INSERT INTO plan_commands (tenant_id, project_id, plan_id, request_id, shard, kind, fingerprint, body, actor, trace_id)
  SELECT %(tenant_id)s, %(project_id)s, %(plan_id)s, %(request_id)s, %(shard)s, %(kind)s, %(fingerprint)s, %(body)s::json,
         %(actor)s, %(trace_id)s
    FROM found WHERE is_there AND has_room
  ON CONFLICT (tenant_id, project_id, plan_id, request_id) DO NOTHING
  RETURNING 1
)
SELECT is_there, has_room, EXISTS (SELECT FROM added) AS is_new FROM found;

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

-- decide_commands --
-- Answers commands, all in one statement: [{tenant_id, project_id, plan_id, request_id, result}].
UPDATE plan_commands AS c SET decided_at = clock_timestamp(), result = d.result
  FROM json_to_recordset(%(rows)s::json) AS d(tenant_id text, project_id text, plan_id text, request_id text, result json)
 WHERE c.tenant_id = d.tenant_id AND c.project_id = d.project_id AND c.plan_id = d.plan_id AND c.request_id = d.request_id;

-- plans_to_go_on --
-- What a shard's new owner has to take up: each plan, and when it goes on by itself (0: at once).
SELECT tenant_id, project_id, plan_id, wake_us FROM plans WHERE shard = %(shard)s AND wake_us >= 0 ORDER BY wake_us;

-- now_us --
-- The database's clock, in microseconds of the epoch.
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us;

-- tenant_limits --
-- How many of a tenant's tasks run at once, and its share.
SELECT tasks_max, weight FROM tenants WHERE tenant_id = %(tenant_id)s;

-- take_slots --
-- Takes free slots: [{tenant_id, project_id, key, most, plan_project, plan_id, task_id, place}], the lowest places first.
WITH wanted AS (
  SELECT w.* FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, key text, most int, plan_project text,
                                                        plan_id text, task_id text, place int)
   WHERE NOT EXISTS (SELECT FROM task_slots AS s WHERE s.tenant_id = w.tenant_id AND s.project_id = w.project_id AND s.key = w.key
                        AND s.plan_project = w.plan_project AND s.plan_id = w.plan_id AND s.task_id = w.task_id)
), ranked AS (
  SELECT w.*, row_number() OVER (PARTITION BY tenant_id, project_id, key ORDER BY place) AS n FROM wanted AS w
), free AS (
  SELECT k.tenant_id, k.project_id, k.key, g.number, row_number() OVER (PARTITION BY k.tenant_id, k.project_id, k.key ORDER BY g.number) AS n
    FROM (SELECT tenant_id, project_id, key, max(most) AS most FROM wanted GROUP BY 1, 2, 3) AS k, generate_series(1, k.most) AS g(number)
   WHERE NOT EXISTS (SELECT FROM task_slots AS s WHERE s.tenant_id = k.tenant_id AND s.project_id = k.project_id AND s.key = k.key
                        AND s.number = g.number)
)
INSERT INTO task_slots (tenant_id, project_id, key, number, plan_project, plan_id, task_id)
SELECT r.tenant_id, r.project_id, r.key, f.number, r.plan_project, r.plan_id, r.task_id
  FROM ranked AS r JOIN free AS f USING (tenant_id, project_id, key, n)
 ORDER BY 1, 2, 3, 4
ON CONFLICT DO NOTHING;

-- held_slots --
-- How many slots each of these holds: [{tenant_id, plan_project, plan_id, task_id, project_id, key}].
SELECT w.tenant_id, w.plan_project, w.plan_id, w.task_id, count(*) AS held
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, key text, plan_project text, plan_id text, task_id text)
  JOIN task_slots AS s ON s.tenant_id = w.tenant_id AND s.project_id = w.project_id AND s.key = w.key
   AND s.plan_project = w.plan_project AND s.plan_id = w.plan_id AND s.task_id = w.task_id
 GROUP BY 1, 2, 3, 4;

-- free_slots --
-- Gives slots back: [{tenant_id, plan_project, plan_id, task_id}], those of the tenant's own limit too.
DELETE FROM task_slots AS s
 USING json_to_recordset(%(rows)s::json) AS w(tenant_id text, plan_project text, plan_id text, task_id text)
 WHERE s.tenant_id = w.tenant_id AND s.project_id IN (w.plan_project, '*') AND s.plan_project = w.plan_project
   AND s.plan_id = w.plan_id AND s.task_id = w.task_id;

-- hold_lease --
-- Keeps a lease with its owner until the transaction ends, as haas.append does; no row where it is somebody else's.
SELECT 1 AS held FROM leases WHERE name = %(lease)s AND epoch = %(epoch)s FOR SHARE;

-- sweep_slots --
-- Gives back what tasks of plans hold that do not run: [{tenant_id, plan_project, plan_id, running}]. A commit that was to
-- start them never came to be.
DELETE FROM task_slots AS s
 USING json_to_recordset(%(rows)s::json) AS w(tenant_id text, plan_project text, plan_id text, running text[])
 WHERE s.tenant_id = w.tenant_id AND s.project_id IN (w.plan_project, '*') AND s.plan_project = w.plan_project
   AND s.plan_id = w.plan_id AND s.task_id <> ALL (w.running);

-- known_breakers --
-- The tools of these projects that failed lately.
SELECT tenant_id, project_id, tool, failures, until_us FROM breakers;

-- tool_failed --
-- Counts a tool's failure and leaves it alone when it is one too many: `opened` says so.
INSERT INTO breakers AS b (tenant_id, project_id, tool, failures, until_us)
VALUES (%(tenant_id)s, %(project_id)s, %(tool)s, 1, CASE WHEN %(threshold)s <= 1 THEN %(until_us)s ELSE 0 END)
ON CONFLICT (tenant_id, project_id, tool) DO UPDATE
   SET failures = b.failures + 1,
       until_us = CASE WHEN b.failures + 1 >= %(threshold)s AND b.until_us < %(now_us)s THEN %(until_us)s ELSE b.until_us END
RETURNING failures, until_us = %(until_us)s AS opened;

-- tool_works --
-- Forgets a tool's failures; `was_open` says whether it had been left alone.
DELETE FROM breakers WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND tool = %(tool)s
RETURNING until_us > 0 AS was_open;

-- plan_events --
-- A plan's stream from a version on, to be folded.
SELECT version, event_type, schema_version, task_id, actor, trace_id, payload
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND stream = %(stream)s AND version > %(after)s
 ORDER BY version LIMIT %(limit)s;

-- plan_snapshot --
-- A plan's snapshot of a form that stands after a version and, unless 0, not after another.
SELECT version, trace_id, key_id, body FROM plan_snapshots
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s AND form = %(form)s
   AND version > %(after)s AND (%(until)s = 0 OR version <= %(until)s);

-- keep_snapshot --
-- Keeps a snapshot in place of the one before, unless the plan is over; its end comes wholly before this or after.
INSERT INTO plan_snapshots AS s (tenant_id, project_id, plan_id, version, form, trace_id, key_id, body)
SELECT tenant_id, project_id, plan_id, %(version)s, %(form)s, %(trace_id)s, %(key_id)s, %(body)s
  FROM (SELECT tenant_id, project_id, plan_id FROM plans
         WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s
           AND state IN ('created', 'running', 'paused', 'compensating') FOR SHARE) AS p
ON CONFLICT (tenant_id, project_id, plan_id) DO UPDATE
   SET version = excluded.version, form = excluded.form, trace_id = excluded.trace_id, key_id = excluded.key_id,
       body = excluded.body
 WHERE s.version < excluded.version;

-- first_key --
-- The key that a plan's first event is sealed under.
SELECT payload #>> '{objective,$sealed}' AS key_id FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND stream = %(stream)s AND version = 1;

-- drop_snapshots --
-- Takes away the snapshots of plans that are over.
DELETE FROM plan_snapshots AS s
 USING json_to_recordset(%(rows)s::json) AS r(tenant_id text, project_id text, plan_id text)
 WHERE s.tenant_id = r.tenant_id AND s.project_id = r.project_id AND s.plan_id = r.plan_id;

-- keep --
-- Appends a batch and brings plans, tasks and edges along, with those that are new; no row where a key (tenant, project,
-- key) is no longer a living one: then nothing was written. What of a task moved stands in lines, fields apart by U+001F
-- (as in haas.append): tenant, project, plan, task, status, attempt, artifacts, failure. Row by row, by the index.
WITH held AS MATERIALIZED (
  SELECT count(*) AS n
    FROM (SELECT string_to_array(l, E'\x1f') AS f FROM unnest(string_to_array(%(keys)s, E'\x1e')) AS l OFFSET 0) AS w
   CROSS JOIN LATERAL (
         SELECT 1 FROM data_keys WHERE tenant_id = f[1] AND project_id = f[2] AND key_id = f[3] AND destroyed_at IS NULL
          FOR KEY SHARE) AS k
  HAVING count(*) = %(keys_count)s
), placed AS MATERIALIZED (
  -- The keys are held first, as an erasure does: else each could wait for the other.
  SELECT a.recorded_at, a.seqs FROM held CROSS JOIN LATERAL haas.append(CASE WHEN held.n >= 0 THEN %(doc)s END, %(lease)s, %(epoch)s) AS a
), planned AS (
  INSERT INTO plans (tenant_id, project_id, plan_id, shard, state, objective, intent, language, brief_artifact_id, profile_id,
                     profile_version, revision, tasks_total, tasks_by_state, failure, last_seq, created_at, updated_at, wake_us)
  SELECT p.tenant_id, p.project_id, p.plan_id, p.shard, p.state, p.objective, p.intent, p.language, p.brief_artifact_id,
         p.profile_id, p.profile_version, p.revision, p.tasks_total, p.tasks_by_state, p.failure, placed.seqs[p.last],
         placed.recorded_at, placed.recorded_at, p.wake_us
    FROM placed CROSS JOIN json_to_recordset(%(plans)s::json) AS p(tenant_id text, project_id text, plan_id text, shard smallint, state text,
         objective text, intent text, language text, brief_artifact_id text, profile_id text, profile_version bigint, revision int,
         tasks_total int, tasks_by_state json, failure text, last bigint, wake_us bigint)
  ON CONFLICT (tenant_id, project_id, plan_id) DO UPDATE
     SET state = excluded.state, revision = excluded.revision, tasks_total = excluded.tasks_total,
         tasks_by_state = excluded.tasks_by_state, failure = excluded.failure, last_seq = excluded.last_seq,
         updated_at = excluded.updated_at, wake_us = excluded.wake_us
), tasks AS (
  INSERT INTO tasks_read (tenant_id, project_id, plan_id, task_id, status, kind, skill, title, owner_agent_id, attempt,
                          artifact_ids, failure, order_key, updated_at)
  SELECT t.tenant_id, t.project_id, t.plan_id, t.task_id, t.status, t.kind, t.skill, t.title, t.owner_agent_id, t.attempt,
         t.artifact_ids, t.failure, t.order_key, placed.recorded_at
    FROM placed CROSS JOIN json_to_recordset(%(tasks)s::json) AS t(tenant_id text, project_id text, plan_id text, task_id text, status text,
         kind text, skill text, title text, owner_agent_id text, attempt int, artifact_ids text[], failure text, order_key int[])
  ON CONFLICT (tenant_id, project_id, plan_id, task_id) DO UPDATE
     SET status = excluded.status, attempt = excluded.attempt, artifact_ids = excluded.artifact_ids, failure = excluded.failure,
         kind = excluded.kind, skill = excluded.skill, title = excluded.title, owner_agent_id = excluded.owner_agent_id,
         updated_at = excluded.updated_at
), cut AS (
  -- The edges of a contract before this one, but not those of the tasks below.
  DELETE FROM task_edges AS g
   USING placed CROSS JOIN json_to_recordset(%(revised)s::json) AS r(tenant_id text, project_id text, plan_id text, task_id text)
   WHERE g.tenant_id = r.tenant_id AND g.project_id = r.project_id AND g.plan_id = r.plan_id AND g.to_task = r.task_id
     AND NOT starts_with(g.from_task, r.task_id || '.')
     AND NOT EXISTS (SELECT 1 FROM json_to_recordset(%(edges)s::json) AS e(tenant_id text, project_id text, plan_id text, from_task text, to_task text)
                      WHERE e.tenant_id = g.tenant_id AND e.project_id = g.project_id AND e.plan_id = g.plan_id
                        AND e.from_task = g.from_task AND e.to_task = g.to_task)
), edges AS (
  INSERT INTO task_edges (tenant_id, project_id, plan_id, from_task, to_task)
  SELECT e.tenant_id, e.project_id, e.plan_id, e.from_task, e.to_task
    FROM placed CROSS JOIN json_to_recordset(%(edges)s::json) AS e(tenant_id text, project_id text, plan_id text, from_task text, to_task text)
  ON CONFLICT DO NOTHING
), moved AS (
  UPDATE tasks_read AS r
     SET status = f[5], attempt = f[6]::int, artifact_ids = string_to_array(f[7], ','), failure = f[8], updated_at = placed.recorded_at
    FROM placed CROSS JOIN (SELECT string_to_array(l, E'\x1f') AS f FROM unnest(string_to_array(%(moved)s, E'\x1e')) AS l OFFSET 0) AS m
   CROSS JOIN LATERAL (SELECT t.ctid AS place FROM tasks_read AS t
                        WHERE t.tenant_id = f[1] AND t.project_id = f[2] AND t.plan_id = f[3] AND t.task_id = f[4] LIMIT 1) AS k
   WHERE r.ctid = k.place
)
SELECT recorded_at FROM placed;

-- keep_moved --
-- The same where no plan, task or edge is new: plans by lines of tenant, project, plan, state, revision, tasks_total,
-- tasks_by_state, failure, place of their last event in the batch, wake_us.
WITH held AS MATERIALIZED (
  SELECT count(*) AS n
    FROM (SELECT string_to_array(l, E'\x1f') AS f FROM unnest(string_to_array(%(keys)s, E'\x1e')) AS l OFFSET 0) AS w
   CROSS JOIN LATERAL (
         SELECT 1 FROM data_keys WHERE tenant_id = f[1] AND project_id = f[2] AND key_id = f[3] AND destroyed_at IS NULL
          FOR KEY SHARE) AS k
  HAVING count(*) = %(keys_count)s
), placed AS MATERIALIZED (
  SELECT a.recorded_at, a.seqs FROM held CROSS JOIN LATERAL haas.append(CASE WHEN held.n >= 0 THEN %(doc)s END, %(lease)s, %(epoch)s) AS a
), plans AS (
  UPDATE plans AS r
     SET state = f[4], revision = f[5]::int, tasks_total = f[6]::int, tasks_by_state = f[7]::json, failure = f[8],
         last_seq = placed.seqs[f[9]::int], wake_us = f[10]::bigint, updated_at = placed.recorded_at
    FROM placed CROSS JOIN (SELECT string_to_array(l, E'\x1f') AS f FROM unnest(string_to_array(%(plans)s, E'\x1e')) AS l OFFSET 0) AS m
   CROSS JOIN LATERAL (SELECT p.ctid AS place FROM plans AS p
                        WHERE p.tenant_id = f[1] AND p.project_id = f[2] AND p.plan_id = f[3] LIMIT 1) AS k
   WHERE r.ctid = k.place
), moved AS (
  UPDATE tasks_read AS r
     SET status = f[5], attempt = f[6]::int, artifact_ids = string_to_array(f[7], ','), failure = f[8], updated_at = placed.recorded_at
    FROM placed CROSS JOIN (SELECT string_to_array(l, E'\x1f') AS f FROM unnest(string_to_array(%(moved)s, E'\x1e')) AS l OFFSET 0) AS m
   CROSS JOIN LATERAL (SELECT t.ctid AS place FROM tasks_read AS t
                        WHERE t.tenant_id = f[1] AND t.project_id = f[2] AND t.plan_id = f[3] AND t.task_id = f[4] LIMIT 1) AS k
   WHERE r.ctid = k.place
)
SELECT recorded_at FROM placed;

-- list_agents --
-- The agents of a project that there are rows of, and where their streams stand; all of one moment.
SELECT a.agent_id, a.kind, a.skills, a.running_max, a.rank, a.state, a.registered_at, h.version
  FROM agents AS a
  JOIN stream_heads AS h ON h.tenant_id = a.tenant_id AND h.project_id = a.project_id AND h.stream = 'agent/' || a.agent_id
 WHERE a.tenant_id = %(tenant_id)s AND a.project_id = %(project_id)s
 ORDER BY a.agent_id LIMIT %(limit)s;

-- get_agent_row --
-- An agent's row, for the fold of the next event.
SELECT tenant_id, project_id, agent_id, kind, skills, running_max, rank, state, registered_at, updated_at
  FROM agents
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND agent_id = %(agent_id)s;

-- project_agents --
-- Puts agents as they stand into the read model.
INSERT INTO agents (tenant_id, project_id, agent_id, kind, skills, running_max, rank, state, registered_at, updated_at)
SELECT w.tenant_id, w.project_id, w.agent_id, w.kind, w.skills, w.running_max, w.rank, w.state, w.registered_at, w.updated_at
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, agent_id text, kind text, skills text[],
       running_max int, rank int, state text, registered_at timestamptz, updated_at timestamptz)
ON CONFLICT (tenant_id, project_id, agent_id) DO UPDATE
   SET kind = excluded.kind, skills = excluded.skills, running_max = excluded.running_max, rank = excluded.rank,
       state = excluded.state, registered_at = excluded.registered_at, updated_at = excluded.updated_at;

-- add_agent_results --
-- Adds to what is measured of agents.
INSERT INTO agent_results AS r (tenant_id, project_id, agent_id, skill, day, completed, failed, duration_ms, tokens, money_micros,
                                updated_at)
SELECT w.tenant_id, w.project_id, w.agent_id, w.skill, w.day, w.completed, w.failed, w.duration_ms, w.tokens, w.money_micros,
       w.updated_at
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, agent_id text, skill text, day date,
       completed bigint, failed bigint, duration_ms bigint, tokens bigint, money_micros bigint, updated_at timestamptz)
ON CONFLICT (tenant_id, project_id, agent_id, skill, day) DO UPDATE
   SET completed = r.completed + excluded.completed, failed = r.failed + excluded.failed,
       duration_ms = r.duration_ms + excluded.duration_ms, tokens = r.tokens + excluded.tokens,
       money_micros = r.money_micros + excluded.money_micros, updated_at = greatest(r.updated_at, excluded.updated_at);

-- agent_results_since --
-- What is measured of a project's agents from a day on, by agent and skill.
SELECT agent_id, skill, sum(completed)::bigint AS completed, sum(failed)::bigint AS failed, sum(duration_ms)::bigint AS duration_ms,
       sum(tokens)::bigint AS tokens, sum(money_micros)::bigint AS money_micros
  FROM agent_results
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND day >= %(since)s::date
 GROUP BY agent_id, skill;

-- tasks_told --
-- What a plan's stream says of its tasks before a version: their contracts, and whom attempts were given to.
SELECT version, event_type, task_id, actor, payload #>> '{task,kind}' AS kind, payload #>> '{task,skill}' AS skill
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND stream = %(stream)s AND version > %(after)s AND version < %(below)s
   AND event_type IN ('TaskPlanned', 'TaskStarted')
 ORDER BY version LIMIT %(limit)s;

-- graph_events --
-- What a plan's stream says of its graph from a version on, by type.
SELECT version, event_type, schema_version, task_id, actor, payload
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND stream = %(stream)s AND version > %(after)s
   AND event_type = ANY (%(types)s)
 ORDER BY version LIMIT %(limit)s;

-- task_contract --
-- The newest contract of a task, as the history holds it.
SELECT schema_version, payload
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND stream = %(stream)s AND plan_id = %(plan_id)s
   AND task_id = %(task_id)s AND event_type = 'TaskPlanned'
 ORDER BY version DESC LIMIT 1;

-- known_artifacts --
-- Which of these artifacts there are.
SELECT artifact_id FROM artifacts_read
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND artifact_id = ANY (%(artifact_ids)s);

-- keep_worker_skill --
-- Keeps a remote skill's contract unless it is another agent's or the project has enough others; says how that went.
WITH others AS (
  SELECT count(*) AS n
    FROM (SELECT 1 FROM worker_skills WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND skill <> %(skill)s
           LIMIT %(skills_max)s) AS other
), kept AS (
  INSERT INTO worker_skills AS w (tenant_id, project_id, skill, agent_id, contract)
  SELECT %(tenant_id)s, %(project_id)s, %(skill)s, %(agent_id)s, %(contract)s::json FROM others WHERE n < %(skills_max)s
  ON CONFLICT (tenant_id, project_id, skill) DO UPDATE
     SET contract = excluded.contract, registered_at = excluded.registered_at
   WHERE w.agent_id = excluded.agent_id
  RETURNING 1
)
SELECT others.n AS others, EXISTS (SELECT FROM kept) AS kept FROM others;

-- worker_skills --
-- The remote skills of a project.
SELECT skill, agent_id, contract, registered_at FROM worker_skills
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s ORDER BY skill LIMIT 1000;

-- remove_worker_skill --
-- Forgets a remote skill; says whose it was.
DELETE FROM worker_skills WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND skill = %(skill)s
RETURNING agent_id;

-- list_hooks --
-- A project's hooks, without their secrets.
SELECT hook_id, signal, plan_path, value_path, updated_at FROM hooks
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s ORDER BY hook_id LIMIT %(limit)s;

-- get_hook --
-- A hook, with its secret as it is sealed.
SELECT signal, plan_path, value_path, updated_at, key_id, secret FROM hooks
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND hook_id = %(hook_id)s;

-- keep_hook --
-- Makes a hook, or gives it another secret.
INSERT INTO hooks AS h (tenant_id, project_id, hook_id, signal, plan_path, value_path, key_id, secret)
VALUES (%(tenant_id)s, %(project_id)s, %(hook_id)s, %(signal)s, %(plan_path)s, %(value_path)s, %(key_id)s, %(secret)s)
ON CONFLICT (tenant_id, project_id, hook_id) DO UPDATE
   SET signal = excluded.signal, plan_path = excluded.plan_path, value_path = excluded.value_path, key_id = excluded.key_id,
       secret = excluded.secret, updated_at = excluded.updated_at
RETURNING updated_at;

-- change_hook --
-- Changes what a hook signals.
UPDATE hooks SET signal = %(signal)s, plan_path = %(plan_path)s, value_path = %(value_path)s, updated_at = now()
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND hook_id = %(hook_id)s
RETURNING updated_at;

-- remove_hook --
-- Removes a hook.
DELETE FROM hooks WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND hook_id = %(hook_id)s;
