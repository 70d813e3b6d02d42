-- plan_facts --
-- The language, the brief and the requester (who did a plan's first event) of plans.
SELECT p.tenant_id, p.project_id, p.plan_id, p.language, p.brief_artifact_id, e.actor AS requester
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, plan_id text)
  JOIN plans AS p ON p.tenant_id = w.tenant_id AND p.project_id = w.project_id AND p.plan_id = w.plan_id
  LEFT JOIN events AS e ON e.tenant_id = p.tenant_id AND e.project_id = p.project_id
                       AND e.stream = 'plan/' || p.plan_id AND e.version = 1;

-- plan_owners --
-- The owners of plans' tasks.
SELECT DISTINCT t.tenant_id, t.project_id, t.plan_id, t.owner_agent_id
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, plan_id text)
  JOIN tasks_read AS t ON t.tenant_id = w.tenant_id AND t.project_id = w.project_id AND t.plan_id = w.plan_id
 ORDER BY 1, 2, 3, 4;

-- dependents --
-- The tasks that read from tasks, each beside the one it reads from.
SELECT w.tenant_id, w.project_id, w.plan_id, w.task_id AS from_task, t.task_id, t.title, t.owner_agent_id
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, plan_id text, task_id text)
  JOIN task_edges AS d ON d.tenant_id = w.tenant_id AND d.project_id = w.project_id AND d.plan_id = w.plan_id
                      AND d.from_task = w.task_id
  JOIN tasks_read AS t ON t.tenant_id = d.tenant_id AND t.project_id = d.project_id AND t.plan_id = d.plan_id
                      AND t.task_id = d.to_task
 ORDER BY w.tenant_id, w.project_id, w.plan_id, w.task_id, t.order_key;

-- affected --
-- Everything that depends on a task, at any distance (plan §4.1), bounded.
WITH RECURSIVE affected (task_id) AS (
  SELECT to_task FROM task_edges
   WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s AND from_task = %(task_id)s
  UNION
  SELECT te.to_task FROM affected AS a
    JOIN task_edges AS te ON te.tenant_id = %(tenant_id)s AND te.project_id = %(project_id)s
                         AND te.plan_id = %(plan_id)s AND te.from_task = a.task_id
)
SELECT t.task_id, t.title, t.owner_agent_id
  FROM tasks_read AS t
 WHERE t.tenant_id = %(tenant_id)s AND t.project_id = %(project_id)s AND t.plan_id = %(plan_id)s
   AND t.task_id IN (SELECT task_id FROM affected LIMIT %(limit)s)
 ORDER BY t.order_key;

-- task --
-- A task and its owner.
SELECT task_id, title, owner_agent_id FROM tasks_read
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s AND task_id = %(task_id)s;

-- already_sent --
-- Which of these envelopes were sent before: a cursor that was set back sends nothing twice.
SELECT n.tenant_id, n.project_id, n.seq, n.receiver_id
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, seq bigint, receiver_id text)
  JOIN notifications AS n ON n.tenant_id = w.tenant_id AND n.project_id = w.project_id AND n.seq = w.seq
                         AND n.receiver_id = w.receiver_id;

-- keep_envelopes --
-- Keeps envelopes.
INSERT INTO notifications (tenant_id, project_id, seq, receiver_id, message_id, envelope, sent_at)
SELECT w.tenant_id, w.project_id, w.seq, w.receiver_id, w.message_id, w.envelope, w.sent_at
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, seq bigint, receiver_id text, message_id text,
       envelope json, sent_at timestamptz);

-- head --
-- A project's first and last seq; both 0 before its first event.
SELECT coalesce((SELECT seq FROM events WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s
                  ORDER BY seq LIMIT 1), 0) AS first_seq,
       coalesce((SELECT last_seq FROM project_heads WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s), 0)
         AS last_seq;

-- plan_place --
-- Where a plan stands, and the seq of its last event.
SELECT state, last_seq FROM plans WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s;

-- events_page --
-- A page of a project's history after a seq, bounded in rows and in bytes of payload; one event at least.
SELECT p.*
  FROM (SELECT q.*, count(*) OVER () AS found, row_number() OVER w AS n,
               sum(octet_length(q.payload_text)) OVER w AS bytes_so_far
          FROM (SELECT seq, stream, version, event_type, schema_version, plan_id, task_id, actor, causation_id, correlation_id, trace_id,
                       payload::text AS payload_text, recorded_at, hash
                  FROM events
                 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND seq > %(after)s
                 ORDER BY seq LIMIT %(limit)s + 1) AS q
        WINDOW w AS (ORDER BY q.seq)) AS p
 WHERE p.n = 1 OR (p.n <= %(limit)s AND p.bytes_so_far <= %(bytes_max)s)
 ORDER BY p.seq;

-- plan_events_page --
-- The same of one plan.
SELECT p.*
  FROM (SELECT q.*, count(*) OVER () AS found, row_number() OVER w AS n,
               sum(octet_length(q.payload_text)) OVER w AS bytes_so_far
          FROM (SELECT seq, stream, version, event_type, schema_version, plan_id, task_id, actor, causation_id, correlation_id, trace_id,
                       payload::text AS payload_text, recorded_at, hash
                  FROM events
                 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s AND plan_id <> ''
                   AND seq > %(after)s
                 ORDER BY seq LIMIT %(limit)s + 1) AS q
        WINDOW w AS (ORDER BY q.seq)) AS p
 WHERE p.n = 1 OR (p.n <= %(limit)s AND p.bytes_so_far <= %(bytes_max)s)
 ORDER BY p.seq;

-- inbox_page --
-- A page of receivers' envelopes, newest first.
SELECT n.seq, n.receiver_id, n.envelope
  FROM unnest(%(receivers)s::text[]) AS r(receiver_id)
 CROSS JOIN LATERAL (
       SELECT i.seq, i.receiver_id, i.envelope FROM notifications AS i
        WHERE i.tenant_id = %(tenant_id)s AND i.project_id = %(project_id)s AND i.receiver_id = r.receiver_id
          AND (i.seq, i.receiver_id) < (%(before_seq)s, %(before_receiver)s)
        ORDER BY i.seq DESC LIMIT %(limit)s) AS n
 ORDER BY n.seq DESC, n.receiver_id DESC LIMIT %(limit)s;

-- sent_page --
-- Of the next events of a project: where they end, and which of them sent envelopes.
SELECT seq, event_type, schema_version, CASE WHEN event_type = 'NotificationSent' THEN payload END AS payload
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND seq > %(after)s
 ORDER BY seq LIMIT %(limit)s;

-- envelopes_of --
-- The envelopes to some receivers about some events.
SELECT seq, receiver_id, envelope FROM notifications
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND seq = ANY (%(causes)s) AND receiver_id = ANY (%(receivers)s)
 ORDER BY seq, receiver_id;
