-- append --
-- Appends a batch of events in one order (haas.append); fenced when a lease is named.
SELECT recorded_at, seqs, versions, hashes FROM haas.append(%(doc)s, %(lease)s, %(epoch)s);

-- keep_partitions --
-- Makes the ranges of the history that the next events need; says how many it made.
SELECT haas.keep_partitions() AS made;

-- relay_lag --
-- What waits beyond a relay's cursor (counted up to a limit), how old it is, and the oldest open transaction of this role
-- that has written, which keeps the horizon below it.
SELECT count(*) AS events,
       coalesce(extract(epoch FROM clock_timestamp() - min(w.recorded_at)), 0)::float8 AS seconds,
       (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(a.xact_start)), 0)::float8
          FROM pg_stat_activity AS a WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()) AS oldest_write_s
  FROM (SELECT e.recorded_at
          FROM events AS e
         WHERE (e.xid, e.id) > ((SELECT c.xid FROM relay_cursors AS c WHERE c.name = %(name)s),
                                (SELECT c.id FROM relay_cursors AS c WHERE c.name = %(name)s))
         ORDER BY e.xid, e.id LIMIT %(limit)s) AS w;

-- project_artifact --
-- Puts the newest version of an artifact into the read model.
INSERT INTO artifacts_read (tenant_id, project_id, artifact_id, path, type, version, hash_prev, hash_curr, ref, signer, signature,
                            plan_id, task_id, status, size_bytes, created_at, updated_at)
VALUES (%(tenant_id)s, %(project_id)s, %(artifact_id)s, %(path)s, %(type)s, %(version)s, %(hash_prev)s, %(hash_curr)s, %(ref)s,
        %(signer)s, %(signature)s, %(plan_id)s, %(task_id)s, %(status)s, %(size_bytes)s, %(created_at)s,
        %(updated_at)s)
ON CONFLICT (tenant_id, project_id, artifact_id) DO UPDATE
   SET path = excluded.path, type = excluded.type, version = excluded.version, hash_prev = excluded.hash_prev,
       hash_curr = excluded.hash_curr, ref = excluded.ref, signer = excluded.signer, signature = excluded.signature,
       plan_id = excluded.plan_id, task_id = excluded.task_id, status = excluded.status, size_bytes = excluded.size_bytes,
       updated_at = excluded.updated_at;

-- get_artifact --
-- The newest version of an artifact, and where its stream stands: both of one moment.
SELECT a.artifact_id, a.path, a.type, a.version, a.hash_prev, a.hash_curr, a.ref, a.signer, a.signature, a.plan_id, a.task_id,
       a.status, a.size_bytes, a.created_at, a.updated_at, h.version AS stream_version
  FROM artifacts_read AS a
  JOIN stream_heads AS h ON h.tenant_id = a.tenant_id AND h.project_id = a.project_id AND h.stream = 'artifact/' || a.artifact_id
 WHERE a.tenant_id = %(tenant_id)s AND a.project_id = %(project_id)s AND a.artifact_id = %(artifact_id)s;

-- artifact_versions --
-- The next versions of an artifact, oldest first: those of its stream's events that tell of one.
SELECT version, event_type, schema_version, payload, recorded_at
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND stream = %(stream)s AND version > %(after)s
   AND event_type IN ('ArtifactProduced', 'ArtifactUpdated')
 ORDER BY version LIMIT %(limit)s;

-- artifact_moves --
-- How the status of an artifact's versions moved, in a part of its stream.
SELECT version, event_type, schema_version, payload
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND stream = %(stream)s
   AND version > %(after)s AND version <= %(upto)s AND event_type = 'ArtifactStatusChanged'
 ORDER BY version;

-- artifact_version --
-- One version of an artifact, as its stream tells of it.
SELECT version, event_type, schema_version, payload, recorded_at
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND stream = %(stream)s AND version >= %(number)s
   AND event_type IN ('ArtifactProduced', 'ArtifactUpdated') AND (payload ->> 'version')::bigint = %(number)s
 ORDER BY version LIMIT 1;

-- artifact_faults --
-- What is known to be wrong with a version of an artifact.
SELECT payload
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND stream = %(stream)s AND version > %(number)s
   AND event_type = 'AuditFailed' AND (payload ->> 'version')::bigint = %(number)s
 ORDER BY version LIMIT %(limit)s;

-- first_seq --
-- The first event of a project that is kept.
SELECT seq FROM events WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s ORDER BY seq LIMIT 1;

-- stream_version --
-- How many events a stream has.
SELECT version FROM stream_heads
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND stream = %(stream)s;

-- dangling_links --
-- Which of these names are no artifact of the project, no task of the plan, no input and no document.
SELECT w.ref
  FROM unnest(%(refs)s::text[]) AS w(ref)
 WHERE NOT EXISTS (SELECT FROM artifacts_read AS a
                    WHERE a.tenant_id = %(tenant_id)s AND a.project_id = %(project_id)s AND a.artifact_id = w.ref)
   AND NOT EXISTS (SELECT FROM tasks_read AS t
                    WHERE t.tenant_id = %(tenant_id)s AND t.project_id = %(project_id)s AND t.plan_id = %(plan_id)s
                      AND t.task_id = w.ref)
   AND NOT EXISTS (SELECT FROM inputs AS i
                    WHERE i.tenant_id = %(tenant_id)s AND i.project_id = %(project_id)s AND i.ref = w.ref)
   AND NOT EXISTS (SELECT FROM documents AS d
                    WHERE d.tenant_id = %(tenant_id)s AND d.project_id = %(project_id)s AND d.ref = w.ref);

-- plan_is_full --
-- A row where a plan has so many artifacts.
SELECT 1 AS found FROM artifacts_read
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND plan_id = %(plan_id)s
 ORDER BY artifact_id OFFSET %(most)s - 1 LIMIT 1;

-- take_leases --
-- Takes or renews leases by the database's clock: ours, or ones that ended. A new holder starts a new epoch.
UPDATE leases
   SET owner = %(owner)s, expires_at = clock_timestamp() + make_interval(secs => %(ttl_s)s),
       epoch = CASE WHEN owner = %(owner)s AND expires_at > clock_timestamp() AND NOT %(fresh)s THEN epoch ELSE epoch + 1 END
 WHERE name = ANY (%(names)s) AND (owner = %(owner)s OR expires_at < clock_timestamp())
RETURNING name, epoch;

-- drop_lease --
-- Gives a lease back at the end.
UPDATE leases SET expires_at = '-infinity', owner = '' WHERE name = %(name)s AND owner = %(owner)s AND epoch = %(epoch)s;

-- free_leases --
-- Which of the leases a member may take: those of its own name (of a process that died) first, then ended ones. What
-- another is taking at this moment is passed over: of two that look at once, each finds its own.
SELECT name FROM leases
 WHERE name = ANY (%(names)s) AND (owner = %(owner)s OR expires_at < clock_timestamp())
 ORDER BY (owner = %(owner)s) DESC, name LIMIT %(most)s
   FOR UPDATE SKIP LOCKED;

-- give_back_leases --
-- Gives back what is in the member's name and not worked on: what is above its share, or was a dead process's.
UPDATE leases SET expires_at = '-infinity', owner = '' WHERE name = ANY (%(names)s) AND owner = %(owner)s;

-- member_beats --
-- Says that a member is there, forgets those that are no more, and returns how many there are and whether it is new.
WITH gone AS (
  DELETE FROM members
   WHERE (kind, instance) IN (SELECT m.kind, m.instance FROM members AS m
                               WHERE m.kind = %(kind)s AND m.instance <> %(instance)s AND m.expires_at < clock_timestamp()
                                 FOR UPDATE SKIP LOCKED)
), here AS (
  INSERT INTO members AS m (kind, instance, address, expires_at)
  VALUES (%(kind)s, %(instance)s, %(address)s, clock_timestamp() + make_interval(secs => %(ttl_s)s))
  ON CONFLICT (kind, instance) DO UPDATE SET address = excluded.address, expires_at = excluded.expires_at
)
SELECT 1 + count(*) FILTER (WHERE m.instance <> %(instance)s) AS living,
       count(*) FILTER (WHERE m.instance = %(instance)s) = 0 AS joined
  FROM members AS m WHERE m.kind = %(kind)s AND m.expires_at >= clock_timestamp();

-- living_members --
-- Who is there, and where.
SELECT instance, address FROM members WHERE kind = %(kind)s AND expires_at >= clock_timestamp() ORDER BY instance LIMIT 100;

-- member_leaves --
-- Takes a member out: the others share what it held.
DELETE FROM members WHERE kind = %(kind)s AND instance = %(instance)s;

-- newest_profile --
-- The newest version of a profile, or of the project's newest profile when none is named.
SELECT profile_id, version, yaml, hash, published_at
  FROM profiles
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s
   AND (%(profile_id)s = '' OR profile_id = %(profile_id)s)
 ORDER BY published_at DESC, version DESC LIMIT 1;

-- profile_version --
-- One version of a profile, as a plan keeps it.
SELECT profile_id, version, yaml, hash, published_at
  FROM profiles
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND profile_id = %(profile_id)s AND version = %(version)s;

-- newest_documents --
-- The newest version of each of the project's documents.
SELECT DISTINCT ON (name) name, version, ref, size_bytes
  FROM documents
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s
 ORDER BY name, version DESC LIMIT 1000;

-- add_data_keys --
-- Keeps keys of subjects that have no living one: [{tenant_id, project_id, key_id, subject, wrapped (hex)}].
INSERT INTO data_keys (tenant_id, project_id, key_id, subject, wrapped)
SELECT w.tenant_id, w.project_id, w.key_id, w.subject, decode(w.wrapped, 'hex')
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, key_id text, subject text, wrapped text)
 ORDER BY w.tenant_id, w.project_id, w.subject
ON CONFLICT (tenant_id, project_id, subject) WHERE destroyed_at IS NULL DO NOTHING;

-- hold_data_keys --
-- The living keys of subjects, in their order, kept alive until the transaction ends; an erasure locks them FOR UPDATE.
-- Row by row, by the index: a join was planned as a scan of all keys (3 ms at 10,000).
SELECT k.tenant_id, k.project_id, k.subject, k.key_id, k.wrapped
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, subject text)
 CROSS JOIN LATERAL (
       SELECT tenant_id, project_id, subject, key_id, wrapped FROM data_keys
        WHERE tenant_id = w.tenant_id AND project_id = w.project_id AND subject = w.subject AND destroyed_at IS NULL
        LIMIT 1 FOR KEY SHARE) AS k;

-- hold_named_keys --
-- Keys by their ids, the living ones kept alive until the transaction ends.
SELECT k.tenant_id, k.project_id, k.key_id, k.wrapped
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, key_id text)
 CROSS JOIN LATERAL (
       SELECT tenant_id, project_id, key_id, wrapped FROM data_keys
        WHERE tenant_id = w.tenant_id AND project_id = w.project_id AND key_id = w.key_id
        LIMIT 1 FOR KEY SHARE) AS k;

-- data_keys_by_id --
-- Keys by their ids; a destroyed one has nothing to open with.
SELECT k.tenant_id, k.project_id, k.key_id, k.wrapped
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, key_id text)
 CROSS JOIN LATERAL (
       SELECT tenant_id, project_id, key_id, wrapped FROM data_keys
        WHERE tenant_id = w.tenant_id AND project_id = w.project_id AND key_id = w.key_id
        LIMIT 1) AS k;

-- data_keys_to_rewrap --
-- Living keys of a project that another than the first line of data.key wraps.
SELECT key_id, wrapped FROM data_keys
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND destroyed_at IS NULL
   AND substr(wrapped, 1, 4) <> %(first)s::bytea
 ORDER BY key_id LIMIT %(limit)s
   FOR NO KEY UPDATE;

-- projects_with_keys --
-- Every project that there is, for who wraps all keys anew.
SELECT tenant_id, project_id FROM projects ORDER BY tenant_id, project_id;

-- rewrap_data_keys --
-- Puts keys in their new wrapping: [{tenant_id, project_id, key_id, wrapped (hex)}]; one that was destroyed stays so.
UPDATE data_keys AS k SET wrapped = decode(w.wrapped, 'hex')
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, key_id text, wrapped text)
 WHERE k.tenant_id = w.tenant_id AND k.project_id = w.project_id AND k.key_id = w.key_id AND k.destroyed_at IS NULL;

-- erased_refs --
-- Which of these blobs an erasure took away.
SELECT ref FROM erased_blobs
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND ref = ANY (%(refs)s);

-- relay_projects --
-- Every project that there is; the relay's lease may read them all.
SELECT tenant_id, project_id FROM projects;

-- relay_unseen_project --
-- A project that is not in the signed set: it was created since, and its events would be passed over unseen.
SELECT 1 AS found FROM projects WHERE NOT ((tenant_id || '/' || project_id) = ANY ((SELECT haas.scopes())::text[])) LIMIT 1;

-- relay_cursor --
-- How far the relay has read.
SELECT xid::text AS at_xid, id AS at_id FROM relay_cursors WHERE name = %(name)s;

-- relay_begin --
-- The beginning of the log, for a relay that has never read.
INSERT INTO relay_cursors (name, xid, id) VALUES (%(name)s, '0', 0) ON CONFLICT DO NOTHING;

-- relay_page --
-- The next events of all projects behind the snapshot's horizon. Cursor and order are both (xid, id): by the id alone,
-- with or without a horizon, one event in eight was lost when measured.
SELECT e.xid::text AS at_xid, e.id AS at_id, e.tenant_id, e.project_id, e.seq, e.stream, e.version, e.event_type,
       e.schema_version, e.plan_id, e.task_id, e.actor, e.recorded_at,
       CASE WHEN e.event_type = ANY (%(whole)s) THEN e.payload END AS payload
  FROM events AS e
 WHERE (e.xid, e.id) > (%(xid)s::xid8, %(id)s) AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
 ORDER BY e.xid, e.id LIMIT %(limit)s;

-- relay_advance --
-- Moves the cursor from where it was read; no row where another relay has moved it meanwhile.
UPDATE relay_cursors SET xid = %(xid)s::xid8, id = %(id)s
 WHERE name = %(name)s AND xid = %(from_xid)s::xid8 AND id = %(from_id)s;

-- hold_lock --
-- Locks a path's row until the transaction ends, a new one with the fence 0, and reads the clock behind the lock.
WITH made AS (
  INSERT INTO resource_locks (tenant_id, project_id, path, locked_by, fence, expires_at)
  VALUES (%(tenant_id)s, %(project_id)s, %(path)s, '', 0, '-infinity')
  ON CONFLICT (tenant_id, project_id, path) DO UPDATE SET path = excluded.path
  RETURNING locked_by, fence, locked_at, expires_at
)
SELECT locked_by, fence, locked_at, nullif(expires_at, '-infinity') AS expires_at, expires_at <= clock_timestamp() AS ended,
       floor(extract(epoch FROM clock_timestamp()))::bigint AS now_s
  FROM made;

-- project_lock --
-- Puts a path's lock as it stands into the read model.
UPDATE resource_locks
   SET locked_by = %(locked_by)s, fence = %(fence)s, locked_at = %(locked_at)s, expires_at = %(expires_at)s::timestamptz
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND path = %(path)s;
