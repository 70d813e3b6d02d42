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
SELECT fingerprint, result
  FROM requests
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND method = %(method)s AND request_id = %(request_id)s;

-- settle_request --
-- Keeps the result of the claim's holder; touches no row when the claim was taken over.
UPDATE requests
   SET result = %(result)s::json, claimed_until = NULL
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND method = %(method)s AND request_id = %(request_id)s
   AND claim_token = %(token)s AND result IS NULL;

-- release_request --
-- Gives a claim back after a failure, so that the same request may be tried again.
DELETE FROM requests
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND method = %(method)s AND request_id = %(request_id)s
   AND claim_token = %(token)s AND result IS NULL;
