-- claim_request --
-- Claims a request for one runner; a claim that outlived its lease or its process is taken over. No row: it is held.
INSERT INTO requests AS r (tenant_id, project_id, method, request_id, fingerprint, claim_token, claimed_until)
VALUES (%(tenant_id)s, %(project_id)s, %(method)s, %(request_id)s, %(fingerprint)s, %(token)s,
        clock_timestamp() + make_interval(secs => %(lease_s)s))
ON CONFLICT (tenant_id, project_id, method, request_id) DO UPDATE
   SET claim_token = excluded.claim_token, claimed_until = excluded.claimed_until
 WHERE r.result IS NULL AND r.fingerprint = excluded.fingerprint
   AND (r.claimed_until < clock_timestamp()
        OR (starts_with(r.claim_token, %(instance)s::text) AND NOT starts_with(r.claim_token, %(process)s::text)))
RETURNING claim_token;

-- get_request --
-- What a request_id led to so far.
SELECT fingerprint, result, claim_token
  FROM requests
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND method = %(method)s AND request_id = %(request_id)s;

-- settle_requests --
-- Keeps the results of claims' holders; touches no row of a claim that was taken over. A result is a text in its row, so
-- that it is kept as it was written.
UPDATE requests AS r
   SET result = w.result::json, claimed_until = NULL
  FROM json_to_recordset(%(rows)s::json) AS w(request_id text, token text, result text)
 WHERE r.tenant_id = %(tenant_id)s AND r.project_id = %(project_id)s AND r.method = %(method)s
   AND r.request_id = w.request_id AND r.claim_token = w.token AND r.result IS NULL
RETURNING r.claim_token;

-- release_request --
-- Gives a claim back after a failure, so that the same request may be tried again.
DELETE FROM requests
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND method = %(method)s AND request_id = %(request_id)s
   AND claim_token = %(token)s AND result IS NULL;
