-- create_tenant --
-- Creates a tenant; nothing where there is one by this id.
INSERT INTO tenants (tenant_id, display_name) VALUES (%(tenant_id)s, %(display_name)s)
ON CONFLICT (tenant_id) DO NOTHING
RETURNING tenant_id, display_name, created_at, tasks_max, weight;

-- list_tenants --
-- A page of tenants by id.
SELECT tenant_id, display_name, created_at, tasks_max, weight FROM tenants
 WHERE tenant_id > %(after)s ORDER BY tenant_id LIMIT %(limit)s;

-- get_tenant --
-- A tenant by its id.
SELECT tenant_id, display_name, created_at, tasks_max, weight FROM tenants WHERE tenant_id = %(tenant_id)s;

-- set_tenant_limits --
-- Says how many of a tenant's tasks run at once, and its share.
UPDATE tenants SET tasks_max = %(tasks_max)s, weight = %(weight)s WHERE tenant_id = %(tenant_id)s
RETURNING tenant_id, display_name, created_at, tasks_max, weight;

-- create_project --
-- Creates a project; nothing where the tenant has one by this id.
INSERT INTO projects (tenant_id, project_id, display_name) VALUES (%(tenant_id)s, %(project_id)s, %(display_name)s)
ON CONFLICT (tenant_id, project_id) DO NOTHING
RETURNING tenant_id, project_id, display_name, created_at;

-- list_projects --
-- A page of a tenant's projects by id; "*" stands for what belongs to all of them and is none.
SELECT tenant_id, project_id, display_name, created_at FROM projects
 WHERE tenant_id = %(tenant_id)s AND project_id > %(after)s AND project_id <> '*' ORDER BY project_id LIMIT %(limit)s;

-- known_projects --
-- Which of these projects the tenant has.
SELECT project_id FROM projects
 WHERE tenant_id = %(tenant_id)s AND project_id = ANY (%(projects)s) AND project_id <> '*';

-- get_profile --
-- The newest version of a profile.
SELECT profile_id, version, yaml, hash, published_at FROM profiles
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND profile_id = %(profile_id)s
 ORDER BY version DESC LIMIT 1;

-- list_profiles --
-- The newest version of each of the project's profiles.
SELECT DISTINCT ON (profile_id) profile_id, version, yaml, hash, published_at FROM profiles
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s
 ORDER BY profile_id, version DESC LIMIT 101;

-- publish_profile --
-- Publishes a version; nothing where another writer published it first.
INSERT INTO profiles (tenant_id, project_id, profile_id, version, yaml, hash)
VALUES (%(tenant_id)s, %(project_id)s, %(profile_id)s, %(version)s, %(yaml)s, %(hash)s)
ON CONFLICT (tenant_id, project_id, profile_id, version) DO NOTHING
RETURNING profile_id, version, yaml, hash, published_at;

-- get_document --
-- The newest version of a document.
SELECT name, version, ref FROM documents
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND name = %(name)s
 ORDER BY version DESC LIMIT 1;

-- publish_document --
-- Publishes a version; nothing where another writer published it first.
INSERT INTO documents (tenant_id, project_id, name, version, ref, size_bytes)
VALUES (%(tenant_id)s, %(project_id)s, %(name)s, %(version)s, %(ref)s, %(size_bytes)s)
ON CONFLICT (tenant_id, project_id, name, version) DO NOTHING
RETURNING name, version, ref;

-- add_usage --
-- Adds to what projects used: [{tenant_id, project_id, day, metric, amount}].
INSERT INTO usage AS u (tenant_id, project_id, day, metric, amount)
SELECT w.tenant_id, w.project_id, w.day, w.metric, w.amount
  FROM json_to_recordset(%(rows)s::json) AS w(tenant_id text, project_id text, day date, metric text, amount bigint)
ON CONFLICT (tenant_id, project_id, day, metric) DO UPDATE SET amount = u.amount + excluded.amount;

-- usage_by_day --
-- What a project used, a document of metrics a day.
SELECT day, json_object_agg(metric, amount) AS amounts
  FROM usage
 WHERE tenant_id = %(tenant_id)s AND project_id = %(project_id)s AND day BETWEEN %(first)s::date AND %(last)s::date
 GROUP BY day ORDER BY day;
