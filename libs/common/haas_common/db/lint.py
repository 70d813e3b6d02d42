"""Rules of isolation that the catalogue itself must keep; a service that finds one broken does not start (design 8).

Each rule is one statement that names what breaks it, and reads the catalogue only: a table, a partition, a view, a role
or a grant is covered the day it is made. tests/integration/test_isolation_mutants.py holds a mistake for each.
"""

from typing import Any

import psycopg

# The roles that a service may log in as, and whoever logs in now: none of them may do more than the rules say.
_LOGINS = b"(SELECT * FROM pg_roles WHERE rolname IN ('haas_app', 'haas_projector') OR rolname = current_user)"
# Tables and partitions of tenants, with the number of their columns tenant_id and project_id.
_TENANT_TABLES = b"""(
        SELECT c.oid, c.relname, c.relkind, c.relowner, t.attnum AS tenant, p.attnum AS project
          FROM pg_class c
          JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id' AND NOT t.attisdropped
          LEFT JOIN pg_attribute p ON p.attrelid = c.oid AND p.attname = 'project_id' AND NOT p.attisdropped
         WHERE c.relnamespace = 'haas'::regnamespace AND c.relkind IN ('r', 'p', 'f'))"""
# What PostgreSQL adds to an expression when it shows it.
_SPELLING = rb"'::text(\[\])?| AS [a-z]+|haas\.|[() ]'"
# Schemas that are not PostgreSQL's own.
_OURS = b"(SELECT oid, nspname, nspacl FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')"

_RULES: dict[str, bytes] = {
    "the app's role must not be a superuser, bypass row security, have other roles' rights, or own anything": b"""
        SELECT r.rolname AS what FROM LOGINS r
         WHERE r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication
        UNION ALL
        SELECT r.rolname || ' in ' || m.roleid::regrole FROM LOGINS r JOIN pg_auth_members m ON m.member = r.oid
        UNION ALL
        SELECT r.rolname || ' owns ' || pg_describe_object(d.classid, d.objid, 0)
          FROM LOGINS r
          JOIN pg_shdepend d ON d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o'
          JOIN pg_database b ON b.oid = d.dbid AND b.datname = current_database()""",
    "the roles that own tables and functions are nobody's login and bypass nothing": b"""
        SELECT r.rolname AS what FROM pg_roles r
         WHERE r.rolname IN ('haas_owner', 'haas_writer')
           AND (r.rolsuper OR r.rolbypassrls OR r.rolcanlogin OR r.rolreplication
                OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid))
        UNION ALL
        SELECT t.relname FROM TENANT_TABLES t WHERE t.relowner::regrole::text <> 'haas_owner'""",
    "nobody but the fleet's roles has rights in its schema": b"""
        SELECT found.what || ' to '
               || CASE found.grantee WHEN 0 THEN 'PUBLIC' ELSE found.grantee::regrole::text END AS what
          FROM (SELECT c.relname AS what, a.grantee
                  FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = 'haas'::regnamespace
                UNION ALL
                SELECT c.relname || '.' || t.attname, a.grantee
                  FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
                 WHERE c.relnamespace = 'haas'::regnamespace
                UNION ALL
                SELECT 'schema ' || n.nspname, a.grantee
                  FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'haas'
               ) AS found
         WHERE found.grantee = 0 OR found.grantee::regrole::text NOT IN
               ('haas_owner', 'haas_writer', 'haas_app', 'haas_projector', 'haas_backup')""",
    "no right is granted beforehand, but for the backup to read": b"""
        SELECT d.defaclrole::regrole || ': ' || a.privilege_type || ' to '
               || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS what
          FROM pg_default_acl d, aclexplode(d.defaclacl) a
         WHERE a.grantee <> d.defaclrole
           AND NOT (a.grantee IN (SELECT oid FROM pg_roles WHERE rolname = 'haas_backup')
                    AND a.privilege_type = 'SELECT')""",
    "the backup's role reads and does nothing else": b"""
        SELECT r.rolname AS what FROM pg_roles r
         WHERE r.rolname = 'haas_backup'
           AND (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication
                OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid)
                OR has_table_privilege(r.oid, 'haas.context_keys', 'SELECT'))
        UNION ALL
        SELECT c.relname || ' ' || a.privilege_type
          FROM pg_roles r, pg_class c, aclexplode(c.relacl) a
         WHERE r.rolname = 'haas_backup' AND a.grantee = r.oid AND a.privilege_type <> 'SELECT'
        UNION ALL
        SELECT p.proname FROM pg_roles r, pg_proc p
         WHERE r.rolname = 'haas_backup' AND p.prosecdef AND p.pronamespace = 'haas'::regnamespace
           AND has_function_privilege(r.oid, p.oid, 'EXECUTE')""",
    "the app may create nothing, and use no sequence": b"""
        SELECT r.rolname || ' in schema ' || n.nspname AS what
          FROM LOGINS r, OURS n WHERE has_schema_privilege(r.oid, n.oid, 'CREATE')
        UNION ALL
        SELECT r.rolname || ' in database' FROM LOGINS r
         WHERE has_database_privilege(r.oid, current_database(), 'CREATE, TEMPORARY')
        UNION ALL
        SELECT r.rolname || ' ' || c.relname FROM LOGINS r, pg_class c
         WHERE c.relkind = 'S' AND c.relnamespace IN (SELECT oid FROM OURS n)
           AND has_sequence_privilege(r.oid, c.oid, 'USAGE, SELECT, UPDATE')""",
    "no session of the app starts with a setting that isolation depends on, or may set one of a superuser's": b"""
        SELECT coalesce(r.rolname, 'database') || ' ' || s.what AS what
          FROM pg_db_role_setting d
          LEFT JOIN pg_roles r ON r.oid = d.setrole
          LEFT JOIN pg_database b ON b.oid = d.setdatabase
         CROSS JOIN LATERAL unnest(d.setconfig) AS s (what)
         WHERE (r.oid IS NULL OR r.oid IN (SELECT oid FROM LOGINS l))
           AND (b.oid IS NULL OR b.datname = current_database())
           AND s.what ~ '^(haas\\.|role=|row_security=|session_replication_role=|[a-z]+_preload_libraries=)'
        UNION ALL
        SELECT r.rolname || ' ' || p.parname FROM LOGINS r, pg_parameter_acl p
         WHERE has_parameter_privilege(r.oid, p.parname, 'SET, ALTER SYSTEM')""",
    "the system catalogue grants the app what PostgreSQL ships": b"""
        SELECT found.what FROM (
          SELECT c.oid, 'pg_class'::regclass AS kind, c.relname AS what, c.relnamespace AS place, c.relacl AS acl
            FROM pg_class c
          UNION ALL
          SELECT p.oid, 'pg_proc'::regclass, p.proname, p.pronamespace, p.proacl FROM pg_proc p
        ) AS found
          LEFT JOIN pg_init_privs i ON i.objoid = found.oid AND i.classoid = found.kind AND i.objsubid = 0
         CROSS JOIN LATERAL aclexplode(found.acl) AS a
         WHERE found.place = 'pg_catalog'::regnamespace AND found.acl IS DISTINCT FROM i.initprivs
           AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM LOGINS r))
           AND NOT EXISTS (SELECT FROM aclexplode(i.initprivs) AS b
                            WHERE b.grantee = a.grantee AND b.privilege_type = a.privilege_type)""",
    "a table with a tenant_id must force row security": b"""
        SELECT t.relname AS what FROM TENANT_TABLES t JOIN pg_class c ON c.oid = t.oid
         WHERE NOT (c.relrowsecurity AND c.relforcerowsecurity)""",
    "beside the tenants' tables the app may touch only the fleet's own": b"""
        SELECT n.nspname || '.' || c.relname AS what
          FROM LOGINS r, pg_class c JOIN OURS n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
           AND NOT (n.nspname = 'haas' AND c.relname IN ('leases', 'relay_cursors', 'members', 'context_keys'))
           AND NOT (n.nspname = 'haas' AND c.relkind IN ('r', 'p', 'v')
                    AND EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attname = 'tenant_id'
                                   AND NOT t.attisdropped))
           AND NOT EXISTS (SELECT FROM pg_depend d
                            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
           AND (has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
                OR has_table_privilege(r.oid, c.oid, 'DELETE, TRUNCATE, TRIGGER, MAINTAIN'))""",
    "a guarded table has exactly one policy that admits, for every command and role, by the signed context": b"""
        WITH allowed (relname, qual, checked) AS (
          VALUES (NULL, 'tenant_id||''/''||project_id=ANYSELECTscopes', 'tenant_id||''/''||project_id=ANYSELECTscopes'),
                 ('plans', 'tenant_id||''/''||project_id=ANYSELECTscopesOR''shard/''||shard=SELECTlease', NULL),
                 ('plan_commands', 'tenant_id||''/''||project_id=ANYSELECTscopesOR''shard/''||shard=SELECTlease', NULL),
                 ('tenants', 'tenant_id=ANYSELECTtenantsOR''*''=ANYSELECTtenants', 'tenant_id=ANYSELECTtenants'),
                 ('projects', 'tenant_id||''/''||project_id=ANYSELECTscopesORtenant_id||''/*''=ANYSELECTscopes'
                              || 'OR''*/*''=ANYSELECTscopesORSELECTlease~~''relay/%''',
                  'tenant_id||''/''||project_id=ANYSELECTscopesORtenant_id||''/*''=ANYSELECTscopes'),
                 ('leases', 'true', 'split_partname,''/'',1=split_partSELECTlease,''/'',1'),
                 ('relay_cursors', 'true', '''relay/''||name=SELECTlease'),
                 ('members', '''member/''||kind=SELECTlease', '''member/''||kind=SELECTlease')
        ), found AS (
          SELECT c.relname, p.oid, p.polcmd, p.polroles, bare.qual, bare.checked
            FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_policy p ON p.polrelid = c.oid AND p.polpermissive
           CROSS JOIN LATERAL (
             SELECT regexp_replace(pg_get_expr(p.polqual, p.polrelid), SPELLING, '', 'g') AS qual,
                    regexp_replace(pg_get_expr(p.polwithcheck, p.polrelid), SPELLING, '', 'g') AS checked
           ) AS bare
           WHERE n.nspname = 'haas' AND c.relkind IN ('r', 'p') AND c.relrowsecurity
        )
        SELECT f.relname AS what
          FROM found f
          JOIN allowed usual ON usual.relname IS NULL
          LEFT JOIN allowed own ON own.relname = f.relname
         GROUP BY f.relname
        HAVING count(f.oid) <> 1
            OR bool_or(f.polcmd <> '*' OR f.polroles <> '{0}'
                       OR f.qual IS DISTINCT FROM coalesce(own.qual, usual.qual)
                       OR f.checked IS DISTINCT FROM coalesce(own.checked, usual.checked))""",
    "a policy asks the signed context's own functions and PostgreSQL's operators": b"""
        SELECT c.relname || ': ' || pg_describe_object(d.refclassid, d.refobjid, 0) AS what
          FROM pg_policy p
          JOIN pg_class c ON c.oid = p.polrelid
          JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid
         WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
           AND NOT (d.refclassid = 'pg_proc'::regclass
                    AND d.refobjid IN (to_regprocedure('haas.scopes()'), to_regprocedure('haas.tenants()'),
                                       to_regprocedure('haas.lease()')))""",
    "the functions that read the signed context are those that the migration made": b"""
        WITH made (name, returned, text) AS (
          VALUES ('context', 'text[]', '629bdfee930724d541c2444ec64a920c'),
                 ('scopes', 'text[]', 'ca46f0a7517f42811a90c462e8b853fd'),
                 ('tenants', 'text[]', 'cbc49e79a4d3c5405a713a8f3a94c0e4'),
                 ('lease', 'text', '7ac59c20b3efebdb0a2ab020681c336a')
        )
        SELECT m.name AS what FROM made m
          LEFT JOIN pg_proc p ON p.proname = m.name AND p.pronamespace = 'haas'::regnamespace AND p.pronargs = 0
            AND p.provolatile = 's' AND p.prosecdef AND p.prorettype = m.returned::regtype
            AND encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex') LIKE m.text || '%'
         WHERE p.oid IS NULL""",
    "tenant_id and project_id are never null and never empty": b"""
        SELECT t.relname || '.' || a.attname AS what
          FROM TENANT_TABLES t
          JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum IN (t.tenant, t.project)
          JOIN pg_type y ON y.oid = a.atttypid
         WHERE NOT a.attnotnull OR y.typname <> 'scope_id' OR y.typnamespace <> 'haas'::regnamespace
        UNION ALL
        SELECT 'scope_id' WHERE NOT EXISTS (
          SELECT FROM pg_constraint k JOIN pg_type y ON y.oid = k.contypid
           WHERE y.typname = 'scope_id' AND y.typnamespace = 'haas'::regnamespace AND k.contype = 'c' AND k.convalidated
             AND strpos(pg_get_constraintdef(k.oid), '''^([a-z0-9][a-z0-9-]{0,62}|[*])$''') > 0)""",
    "a tenant table has a unique key, and every one of them begins with tenant_id and project_id": b"""
        SELECT t.relname AS what FROM TENANT_TABLES t
         WHERE t.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = t.oid AND x.indisunique
                                                  AND x.indisvalid AND x.indpred IS NULL)
        UNION ALL
        SELECT x.indexrelid::regclass::text FROM TENANT_TABLES t JOIN pg_index x ON x.indrelid = t.oid
         WHERE (x.indisunique OR x.indisexclusion)
           AND (x.indkey[0] <> t.tenant
                OR t.project IS NOT NULL AND (x.indnkeyatts < 2 OR x.indkey[1] <> t.project))""",
    "every foreign key of a tenant table carries tenant_id and project_id": b"""
        SELECT k.conname AS what
          FROM TENANT_TABLES t
          JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'f'
          LEFT JOIN TENANT_TABLES o ON o.oid = k.confrelid
         WHERE o.oid IS NULL
            OR NOT EXISTS (SELECT FROM unnest(k.conkey, k.confkey) AS pair (here, there)
                            WHERE pair.here = t.tenant AND pair.there = o.tenant)
            OR o.project IS NOT NULL AND (t.project IS NULL OR NOT EXISTS (
                 SELECT FROM unnest(k.conkey, k.confkey) AS pair (here, there)
                  WHERE pair.here = t.project AND pair.there = o.project))""",
    "no trigger and no rewrite rule acts on a table": b"""
        SELECT g.tgname AS what FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
         WHERE c.relnamespace = 'haas'::regnamespace AND NOT g.tgisinternal
        UNION ALL
        SELECT w.rulename FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class
         WHERE c.relnamespace = 'haas'::regnamespace AND w.rulename <> '_RETURN'""",
    "the app must not change, delete or truncate the history, nor add to it but by haas.append": b"""
        SELECT c.relname || ' ' || want AS what
          FROM LOGINS r, pg_class c
         CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN']) AS want
         WHERE c.relnamespace = 'haas'::regnamespace AND c.relkind IN ('r', 'p')
           AND (want IN ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN')
                OR c.relname IN ('project_heads', 'stream_heads')
                OR c.oid IN (SELECT relid FROM pg_partition_tree('haas.events')) OR c.oid = 'haas.events'::regclass)
           AND CASE WHEN want IN ('DELETE', 'TRUNCATE', 'TRIGGER', 'MAINTAIN')
                    THEN has_table_privilege(r.oid, c.oid, want)
                    ELSE has_any_column_privilege(r.oid, c.oid, want) END""",
    "where a lease or the operator sees rows of others, a restrictive policy keeps deleting to the scopes": b"""
        SELECT c.relname AS what FROM LOGINS r, pg_class c
         WHERE c.relnamespace = 'haas'::regnamespace AND c.relname IN ('plans', 'plan_commands', 'tenants', 'projects')
           AND has_table_privilege(r.oid, c.oid, 'DELETE')
           AND NOT EXISTS (
             SELECT FROM pg_policy p
              WHERE p.polrelid = c.oid AND p.polcmd = 'd' AND NOT p.polpermissive AND p.polroles = '{0}'
                AND regexp_replace(pg_get_expr(p.polqual, p.polrelid), SPELLING, '', 'g')
                    = 'tenant_id||''/''||project_id=ANYSELECTscopes')""",
    "the app must not reach the key that signs its context": b"""
        SELECT 'context_keys ' || want AS what
          FROM LOGINS r, pg_class c
         CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS want
         WHERE c.relnamespace = 'haas'::regnamespace AND c.relname = 'context_keys'
           AND CASE want WHEN 'DELETE' THEN has_table_privilege(r.oid, c.oid, want)
                         ELSE has_any_column_privilege(r.oid, c.oid, want) END""",
    "views see as the caller does": b"""
        SELECT c.relname AS what FROM pg_class c
         WHERE c.relnamespace = 'haas'::regnamespace AND (c.relkind = 'm' OR c.relkind = 'v'
               AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false))""",
    "only the listed functions run as their owner, with a pinned search path, and not for everyone": b"""
        SELECT p.proname AS what
          FROM pg_proc p JOIN OURS n ON n.oid = p.pronamespace
         WHERE (p.prosecdef OR p.proleakproof)
           AND NOT EXISTS (SELECT FROM pg_depend d
                            WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
           AND NOT (NOT p.proleakproof AND n.nspname = 'haas'
                    AND p.proname || '(' || oidvectortypes(p.proargtypes) || ') of ' || p.proowner::regrole IN
                        ('append(text, text, bigint) of haas_writer', 'context() of haas_writer',
                         'scopes() of haas_writer', 'tenants() of haas_writer', 'lease() of haas_writer',
                         'keep_partitions() of haas_owner')
                    AND coalesce('search_path=pg_catalog, haas, pg_temp' = ANY (p.proconfig), false)
                    AND p.proacl IS NOT NULL
                    AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0))""",
}


def _statement(rule: bytes) -> bytes:
    """Puts what several rules share in its places."""
    shared = {b"LOGINS": _LOGINS, b"TENANT_TABLES": _TENANT_TABLES, b"OURS": _OURS, b"SPELLING": _SPELLING}
    for place, text in shared.items():
        rule = rule.replace(place, text)
    return rule


#: Each rule as a sentence, and the statement that names what breaks it.
RULES = {rule: _statement(sql) for rule, sql in _RULES.items()}


class CatalogueError(Exception):
    """The database's catalogue breaks a rule of isolation; the service refuses to start."""


async def broken(connection: psycopg.AsyncConnection[Any]) -> dict[str, list[str]]:
    """Returns the rules that do not hold, each with what breaks it."""
    found = {}
    for rule, sql in RULES.items():
        rows = await (await connection.execute(sql)).fetchall()
        if rows:
            found[rule] = sorted({str(row["what"]) for row in rows})
    return found


async def check(connection: psycopg.AsyncConnection[Any]) -> None:
    """Checks every rule as the app's own role. Raises CatalogueError naming each that is broken and what breaks it."""
    found = await broken(connection)
    if found:
        raise CatalogueError("; ".join(f"{rule}: {', '.join(what)}" for rule, what in found.items()))
