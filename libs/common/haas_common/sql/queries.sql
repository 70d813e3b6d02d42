-- append --
-- Appends a batch of events in one order (haas.append); fenced when a lease is named.
SELECT event_seq, event_version, event_hash, event_recorded_at
  FROM haas.append(%(doc)s::json, %(lease)s, %(epoch)s);

-- project_artifact --
-- Puts the newest version of an artifact into the read model.
INSERT INTO artifacts_read (tenant_id, project_id, artifact_id, path, type, version, hash_prev, hash_curr, ref, signer, signature,
                            plan_id, task_id, status, size_bytes, created_at, updated_at)
VALUES (%(tenant_id)s, %(project_id)s, %(artifact_id)s, %(path)s, %(type)s, %(version)s, %(hash_prev)s, %(hash_curr)s, %(ref)s,
        %(signer)s, %(signature)s, %(plan_id)s, %(task_id)s, %(status)s, %(size_bytes)s, %(at)s, %(at)s)
ON CONFLICT (tenant_id, project_id, artifact_id) DO UPDATE
   SET path = excluded.path, type = excluded.type, version = excluded.version, hash_prev = excluded.hash_prev,
       hash_curr = excluded.hash_curr, ref = excluded.ref, signer = excluded.signer, signature = excluded.signature,
       plan_id = excluded.plan_id, task_id = excluded.task_id, status = excluded.status, size_bytes = excluded.size_bytes,
       updated_at = excluded.updated_at;

-- get_artifact --
-- The newest version of an artifact.
SELECT artifact_id, path, type, version, hash_prev, hash_curr, ref, signer, signature, plan_id, task_id, status, size_bytes,
       created_at, updated_at
  FROM artifacts_read
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND artifact_id = %(artifact_id)s;

-- artifact_versions --
-- Every version of an artifact, oldest first: its stream.
SELECT version, event_type, schema_version, payload, recorded_at
  FROM events
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND stream = %(stream)s
 ORDER BY version;

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
