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
-- The contracts of a plan's tasks in the order in which they were planned, and which of them are no longer part of it.
SELECT event_type, task_id, schema_version, payload FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s AND stream = %(stream)s
   AND event_type IN ('TaskPlanned', 'TaskSuperseded', 'TaskReset')
 ORDER BY version LIMIT 40000;

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

-- audit_projects --
-- A page of the projects that there are, of all tenants or of one; the relay's lease and the tenant may read them.
SELECT tenant_id, project_id FROM projects
 WHERE (tenant_id, project_id) > (%(after_tenant)s, %(after_project)s) AND (%(tenant_id)s = '' OR tenant_id = %(tenant_id)s)
 ORDER BY tenant_id, project_id LIMIT %(limit)s;

-- audit_heads --
-- How far projects go.
SELECT h.tenant_id, h.project_id, h.last_seq, h.streams
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text)
  JOIN project_heads AS h ON h.tenant_id = w.tenant_id AND h.project_id = w.project_id
 ORDER BY h.tenant_id, h.project_id;

-- audit_stream_heads --
-- The heads of all streams of some projects, in the order of a Merkle tree's leaves, and how far each project goes: one
-- statement, so that all of it is of one moment.
SELECT p.project_id, p.last_seq, p.streams, s.stream, s.version, s.hash, s.ordinal
  FROM project_heads AS p
  JOIN stream_heads AS s ON s.tenant_id = p.tenant_id AND s.project_id = p.project_id
 WHERE p.tenant_id = %(tenant_id)s AND p.project_id = ANY (%(projects)s)
 ORDER BY p.project_id, s.ordinal;

-- audit_now --
-- The database's clock.
SELECT clock_timestamp() AS at;

-- audit_tenant_project --
-- The project that a tenant's own events stand in.
INSERT INTO projects (tenant_id, project_id) VALUES (%(tenant_id)s, '*') ON CONFLICT DO NOTHING;

-- audit_checkpoints --
-- A page of a tenant's checkpoints, newest first.
SELECT version, payload
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = '*' AND stream = 'checkpoint/' || %(tenant_id)s AND version < %(before)s
 ORDER BY version DESC LIMIT %(limit)s;

-- audit_dropped --
-- The newest event that tells what a tenant's history begins from.
SELECT schema_version, payload
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = '*' AND stream = 'history/' || %(tenant_id)s
 ORDER BY version DESC LIMIT 1;

-- audit_events --
-- A page of a project's events as they are exported: every field that a hash covers, and the hash.
SELECT tenant_id, project_id, seq, stream, version, event_type, schema_version, plan_id, task_id, actor, causation_id,
       correlation_id, trace_id, (extract(epoch FROM recorded_at) * 1000000)::bigint AS recorded_at_us,
       payload::text AS payload, encode(hash, 'hex') AS hash
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND seq > %(after)s AND seq <= %(until)s
 ORDER BY seq LIMIT %(limit)s;

-- audit_profile --
-- A profile's text by its hash: the bytes that ProfilePublished names.
SELECT yaml FROM profiles WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND hash = %(hash)s LIMIT 1;

-- lock_data_keys --
-- The living keys of a person, or of everybody ('*'), once nobody writes under them any more.
SELECT key_id FROM data_keys
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND destroyed_at IS NULL
   AND (%(subject)s = '*' OR subject = %(subject)s)
 ORDER BY subject
   FOR UPDATE;

-- plans_of_subject --
-- The plans that a person created, or that were forked from those, or all ('*'), and whether a command waits for its
-- decision.
SELECT p.plan_id, p.state,
       EXISTS (SELECT 1 FROM plan_commands AS c
                WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id AND c.plan_id = p.plan_id
                  AND c.decided_at IS NULL) AS waiting
  FROM plans AS p
  LEFT JOIN events AS e ON e.tenant_id = p.tenant_id AND e.project_id = p.project_id AND e.stream = 'plan/' || p.plan_id
                       AND e.version = 1
 WHERE p.tenant_id = %(tenant_id)s AND p.project_id = %(project_id)s
   AND (%(subject)s = '*' OR coalesce(nullif(e.payload ->> 'subject', ''), e.actor) = %(subject)s)
 ORDER BY p.plan_id;

-- requests_without_plan --
-- Requests of a person, or of all ('*'), for plans that are not there (yet); `fresh`: they may still become one.
SELECT r.request_id, r.result ->> 'plan_id' AS plan_id,
       r.created_at > now() - interval '1 minute'
       OR EXISTS (SELECT 1 FROM plan_commands AS c
                   WHERE c.tenant_id = r.tenant_id AND c.project_id = r.project_id AND c.plan_id = r.result ->> 'plan_id'
                     AND c.decided_at IS NULL) AS fresh
  FROM requests AS r
  LEFT JOIN events AS e ON e.tenant_id = r.tenant_id AND e.project_id = r.project_id
                       AND e.stream = 'intent/' || (r.result ->> 'plan_id') AND e.version = 1
 WHERE r.tenant_id = %(tenant_id)s AND r.project_id = %(project_id)s AND r.method = 'CreatePlan'
   AND r.result ->> 'plan_id' IS NOT NULL AND (%(subject)s = '*' OR e.actor = %(subject)s)
   AND NOT EXISTS (SELECT 1 FROM plans AS p
                    WHERE p.tenant_id = r.tenant_id AND p.project_id = r.project_id AND p.plan_id = r.result ->> 'plan_id');

-- uploads_of_subject --
-- The files that a person uploaded last, or all ('*').
SELECT i.ref
  FROM inputs AS i
 CROSS JOIN LATERAL (
       SELECT e.actor FROM events AS e
        WHERE e.tenant_id = i.tenant_id AND e.project_id = i.project_id AND e.stream = 'input/' || substr(i.ref, 8, 32)
        ORDER BY e.version DESC LIMIT 1) AS last
 WHERE i.tenant_id = %(tenant_id)s AND i.project_id = %(project_id)s AND (%(subject)s = '*' OR last.actor = %(subject)s);

-- open_plans --
-- The first events of the plans that are not over.
SELECT p.plan_id, e.schema_version, e.payload
  FROM plans AS p
  JOIN events AS e ON e.tenant_id = p.tenant_id AND e.project_id = p.project_id AND e.stream = 'plan/' || p.plan_id
                  AND e.version = 1
 WHERE p.tenant_id = %(tenant_id)s AND p.project_id = %(project_id)s AND p.state NOT IN ('completed', 'failed', 'cancelled');

-- blobs_of_plans --
-- The blobs that plans have led to: every version of their artifacts, long reasonings, and results that were refused.
SELECT e.event_type, e.payload ->> 'artifact_id' AS artifact_id,
       coalesce(e.payload ->> 'ref', e.payload ->> 'audit_ref', e.payload ->> 'evidence') AS ref
  FROM unnest(%(plan_ids)s::text[]) AS w(plan_id)
  JOIN events AS e ON e.tenant_id = %(tenant_id)s AND e.project_id = %(project_id)s AND e.plan_id = w.plan_id
                  AND e.plan_id <> '' AND e.event_type IN ('ArtifactProduced', 'ArtifactUpdated', 'BriefCreated', 'TaskFailed', 'TaskRetryScheduled');

-- scrub_plans --
-- What plans say of a person, as a rebuild from the sealed history gives it.
UPDATE plans SET objective = CASE objective WHEN '' THEN '' ELSE '[erased]' END,
                 failure = CASE failure WHEN '' THEN '' ELSE '[erased]' END
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = ANY (%(plan_ids)s);

-- scrub_tasks --
-- The same of their tasks.
UPDATE tasks_read SET title = CASE title WHEN '' THEN '' ELSE '[erased]' END,
                      failure = CASE failure WHEN '' THEN '' ELSE '[erased]' END
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = ANY (%(plan_ids)s);

-- scrub_envelopes --
-- The same of the envelopes that told of them.
UPDATE notifications AS n
   SET envelope = jsonb_set(jsonb_set(n.envelope::jsonb, '{nl_summary}', '"[erased]"'), '{content,message}',
                            CASE n.envelope -> 'content' ->> 'message' WHEN '' THEN '""' ELSE '"[erased]"' END::jsonb)::json
 WHERE n.tenant_id = %(tenant_id)s AND n.project_id = %(project_id)s
   AND n.envelope ->> 'conversation_id' = ANY (%(plan_ids)s);

-- scrub_commands --
-- What commands to plans said; whoever asks again learns that it was erased.
UPDATE plan_commands SET body = '{}', fingerprint = '', result = %(erased)s::json
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = ANY (%(plan_ids)s) AND decided_at IS NOT NULL;

-- scrub_requests --
-- What requests for plans said; whoever asks again learns that it was erased.
UPDATE requests SET fingerprint = '', result = '{"erased": true}'
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND method = 'CreatePlan'
   AND result ->> 'plan_id' = ANY (%(plan_ids)s);

-- drop_tool_requests --
-- What tools answered to the tasks of plans, or to anybody.
DELETE FROM requests
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND method NOT IN ('CreatePlan', 'EraseData')
   AND (%(subject)s = '*' OR split_part(request_id, '/', 1) = ANY (%(plan_ids)s));

-- drop_uploads --
-- Takes uploads away.
DELETE FROM inputs WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND ref = ANY (%(refs)s);

-- destroy_data_keys --
-- Destroys keys: whatever was sealed under one is gone.
UPDATE data_keys SET wrapped = NULL, destroyed_at = clock_timestamp()
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND key_id = ANY (%(key_ids)s) AND destroyed_at IS NULL;

-- add_erased_blobs --
-- Marks blobs for deletion.
INSERT INTO erased_blobs (tenant_id, project_id, ref)
SELECT %(tenant_id)s, %(project_id)s, unnest(%(refs)s::text[])
ON CONFLICT (tenant_id, project_id, ref) DO UPDATE SET erased_at = now(), deleted_at = NULL;

-- pending_blobs --
-- Blobs that wait for their deletion, and whether somebody has uploaded or published the same bytes.
SELECT b.ref, b.erased_at,
       EXISTS (SELECT 1 FROM inputs AS i
                WHERE i.tenant_id = b.tenant_id AND i.project_id = b.project_id AND i.ref = b.ref)
       OR EXISTS (SELECT 1 FROM documents AS d
                   WHERE d.tenant_id = b.tenant_id AND d.project_id = b.project_id AND d.ref = b.ref) AS wanted
  FROM erased_blobs AS b
 WHERE b.tenant_id = %(tenant_id)s AND b.project_id = %(project_id)s AND b.deleted_at IS NULL
 ORDER BY b.ref LIMIT %(limit)s;

-- blobs_deleted --
-- The store has let go of blobs.
UPDATE erased_blobs SET deleted_at = clock_timestamp()
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND ref = ANY (%(refs)s) AND deleted_at IS NULL;

-- erasures_pending --
-- The projects with blobs that wait for their deletion, as far as the context sees them.
SELECT DISTINCT tenant_id, project_id FROM erased_blobs WHERE deleted_at IS NULL;

-- all_projects --
-- Every project that there is, for a relay.
SELECT tenant_id, project_id FROM projects;

-- list_subjects --
-- A page of the people whose data a project holds or held, with their keys.
SELECT k.subject, json_agg(json_build_object('key_id', k.key_id, 'created_at', k.created_at, 'destroyed_at', k.destroyed_at)
                           ORDER BY k.created_at, k.key_id) AS keys
  FROM data_keys AS k
 WHERE k.tenant_id = %(tenant_id)s AND k.project_id = %(project_id)s AND (k.subject > %(after)s OR %(first)s)
 GROUP BY k.subject ORDER BY k.subject LIMIT %(limit)s;

-- living_keys --
-- A page of the project's living keys, kept alive until the transaction ends: an erasure comes wholly before or after.
SELECT key_id, subject, wrapped, created_at FROM data_keys
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND key_id > %(after)s AND destroyed_at IS NULL
 ORDER BY key_id LIMIT %(limit)s
   FOR KEY SHARE;

-- refs_in_events --
-- The addresses of blobs that a page of the history names, in whatever field.
SELECT count(DISTINCT p.seq) AS rows, max(p.seq) AS last,
       array_agg(DISTINCT m.found[1]) FILTER (WHERE m.found IS NOT NULL) AS refs
  FROM (SELECT seq, payload FROM events
         WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND seq > %(after)s
         ORDER BY seq LIMIT %(limit)s) AS p
  LEFT JOIN LATERAL regexp_matches(p.payload::text, 'sha256:[0-9a-f]{64}', 'g') AS m(found) ON true;

-- refs_in_requests --
-- The addresses of blobs that a page of kept requests names.
SELECT count(DISTINCT (p.method, p.request_id)) AS rows,
       (array_agg(json_build_array(p.method, p.request_id) ORDER BY p.method DESC, p.request_id DESC))[1] AS last,
       array_agg(DISTINCT m.found[1]) FILTER (WHERE m.found IS NOT NULL) AS refs
  FROM (SELECT method, request_id, result FROM requests
         WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND (method, request_id) > (%(after)s, %(after_id)s)
         ORDER BY method, request_id LIMIT %(limit)s) AS p
  LEFT JOIN LATERAL regexp_matches(p.result::text, 'sha256:[0-9a-f]{64}', 'g') AS m(found) ON true;

-- refs_in_commands --
-- The addresses of blobs that a page of plans' commands names.
SELECT count(DISTINCT (p.plan_id, p.request_id)) AS rows,
       (array_agg(json_build_array(p.plan_id, p.request_id) ORDER BY p.plan_id DESC, p.request_id DESC))[1] AS last,
       array_agg(DISTINCT m.found[1]) FILTER (WHERE m.found IS NOT NULL) AS refs
  FROM (SELECT plan_id, request_id, body FROM plan_commands
         WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND (plan_id, request_id) > (%(after)s, %(after_id)s)
         ORDER BY plan_id, request_id LIMIT %(limit)s) AS p
  LEFT JOIN LATERAL regexp_matches(p.body::text, 'sha256:[0-9a-f]{64}', 'g') AS m(found) ON true;

-- refs_in_artifacts --
-- The addresses of blobs that a page of artifacts names.
SELECT count(DISTINCT (p.artifact_id)) AS rows,
       (array_agg(json_build_array(p.artifact_id, '') ORDER BY p.artifact_id DESC))[1] AS last,
       array_agg(DISTINCT m.found[1]) FILTER (WHERE m.found IS NOT NULL) AS refs
  FROM (SELECT artifact_id, ref FROM artifacts_read
         WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND artifact_id > %(after)s
         ORDER BY artifact_id LIMIT %(limit)s) AS p
  LEFT JOIN LATERAL regexp_matches(p.ref::text, 'sha256:[0-9a-f]{64}', 'g') AS m(found) ON true;

-- refs_in_inputs --
-- The addresses of a page of inputs.
SELECT count(DISTINCT (p.ref)) AS rows,
       (array_agg(json_build_array(p.ref, '') ORDER BY p.ref DESC))[1] AS last,
       array_agg(DISTINCT m.found[1]) FILTER (WHERE m.found IS NOT NULL) AS refs
  FROM (SELECT ref FROM inputs
         WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND ref > %(after)s
         ORDER BY ref LIMIT %(limit)s) AS p
  LEFT JOIN LATERAL regexp_matches(p.ref::text, 'sha256:[0-9a-f]{64}', 'g') AS m(found) ON true;

-- refs_in_documents --
-- The addresses of a page of documents.
SELECT count(DISTINCT p.ref) AS rows, json_build_array(max(p.ref), '') AS last, array_agg(p.ref) AS refs
  FROM (SELECT DISTINCT ref FROM documents
         WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND ref > %(after)s
         ORDER BY ref LIMIT %(limit)s) AS p;

-- known_blobs --
-- Which of these addresses an input or a document has.
SELECT w.ref
  FROM unnest(%(refs)s::text[]) AS w(ref)
 WHERE EXISTS (SELECT FROM inputs AS i
                WHERE i.tenant_id = %(tenant_id)s AND i.project_id = %(project_id)s AND i.ref = w.ref)
    OR EXISTS (SELECT FROM documents AS d
                WHERE d.tenant_id = %(tenant_id)s AND d.project_id = %(project_id)s AND d.ref = w.ref);
