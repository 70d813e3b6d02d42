"""Rules of isolation that the catalogue itself must keep; a service that finds one broken does not start (design 8)."""

from typing import Any

import psycopg

_RULES: dict[str, bytes] = {
    "the app's role must not be a superuser, bypass row security, or own anything": b"""
        SELECT r.rolname AS what FROM pg_roles r
         WHERE r.rolname = current_user AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole)
        UNION ALL
        SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'haas' AND pg_has_role(current_user, c.relowner, 'MEMBER')""",
    "a table with a tenant_id must force row security": b"""
        SELECT c.relname AS what FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
         WHERE n.nspname = 'haas' AND c.relkind IN ('r', 'p') AND NOT (c.relrowsecurity AND c.relforcerowsecurity)""",
    "a tenant table has exactly one policy, for every command and role, that asks the signed context": rb"""
        WITH allowed (relname, qual, checked) AS (
          VALUES (NULL, 'tenant_id||''/''||project_id=ANYSELECTscopes', 'tenant_id||''/''||project_id=ANYSELECTscopes'),
                 ('plans', 'tenant_id||''/''||project_id=ANYSELECTscopesOR''shard/''||shard=SELECTlease', NULL),
                 ('plan_commands', 'tenant_id||''/''||project_id=ANYSELECTscopesOR''shard/''||shard=SELECTlease', NULL),
                 ('tenants', 'tenant_id=ANYSELECTtenantsOR''*''=ANYSELECTtenants', 'tenant_id=ANYSELECTtenants'),
                 ('projects', 'tenant_id||''/''||project_id=ANYSELECTscopesORtenant_id||''/*''=ANYSELECTscopes'
                              || 'OR''*/*''=ANYSELECTscopesORSELECTlease~~''relay/%''',
                  'tenant_id||''/''||project_id=ANYSELECTscopesORtenant_id||''/*''=ANYSELECTscopes')
        ), found AS (
          SELECT c.relname, p.oid, p.polcmd, p.polpermissive, p.polroles, bare.qual, bare.checked
            FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_policy p ON p.polrelid = c.oid
           CROSS JOIN LATERAL (
             SELECT regexp_replace(pg_get_expr(p.polqual, p.polrelid), noise, '', 'g') AS qual,
                    regexp_replace(pg_get_expr(p.polwithcheck, p.polrelid), noise, '', 'g') AS checked
               FROM (VALUES ('::text(\[\])?| AS [a-z]+|haas\.|[() ]')) AS v (noise)
           ) AS bare
           WHERE n.nspname = 'haas' AND c.relkind IN ('r', 'p') AND c.relrowsecurity
        )
        SELECT f.relname AS what
          FROM found f
          JOIN allowed usual ON usual.relname IS NULL
          LEFT JOIN allowed own ON own.relname = f.relname
         GROUP BY f.relname
        HAVING count(f.oid) <> 1
            OR bool_or(f.polcmd <> '*' OR NOT f.polpermissive OR f.polroles <> '{0}'
                       OR f.qual IS DISTINCT FROM coalesce(own.qual, usual.qual)
                       OR f.checked IS DISTINCT FROM coalesce(own.checked, usual.checked))""",
    "every unique key of a tenant table begins with tenant_id": b"""
        SELECT i.relname AS what FROM pg_index x
          JOIN pg_class c ON c.oid = x.indrelid
          JOIN pg_class i ON i.oid = x.indexrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
          JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id' AND NOT t.attisdropped
         WHERE n.nspname = 'haas' AND x.indisunique AND x.indkey[0] <> t.attnum""",
    "every foreign key of a tenant table carries tenant_id": b"""
        SELECT k.conname AS what FROM pg_constraint k
          JOIN pg_class c ON c.oid = k.conrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
          JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id' AND NOT t.attisdropped
         WHERE n.nspname = 'haas' AND k.contype = 'f' AND NOT t.attnum = ANY (k.conkey)""",
    "the app must not change, delete or truncate the history, nor add to it but by haas.append": b"""
        SELECT c.relname || ' ' || want AS what
          FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace
         CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS want
         WHERE n.nspname = 'haas' AND c.relkind IN ('r', 'p')
           AND (want IN ('TRUNCATE', 'REFERENCES', 'TRIGGER')
                OR c.relname IN ('events', 'project_heads', 'stream_heads'))
           AND CASE WHEN want IN ('DELETE', 'TRUNCATE', 'TRIGGER') THEN has_table_privilege(c.oid, want)
                    ELSE has_any_column_privilege(c.oid, want) END""",
    "the app must not reach the key that signs its context": b"""
        SELECT 'context_keys ' || want AS what
          FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace
         CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS want
         WHERE n.nspname = 'haas' AND c.relname = 'context_keys' AND has_any_column_privilege(c.oid, want)""",
    "views see as the caller does": b"""
        SELECT c.relname AS what FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'haas' AND (c.relkind = 'm' OR c.relkind = 'v'
               AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false))""",
    "only the listed functions run as their owner": b"""
        SELECT p.proname AS what FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE n.nspname = 'haas' AND (p.proleakproof OR p.prosecdef
               AND p.proname NOT IN ('append', 'context', 'scopes', 'tenants', 'lease'))""",
}


class CatalogueError(Exception):
    """The database's catalogue breaks a rule of isolation; the service refuses to start."""


async def check(connection: psycopg.AsyncConnection[Any]) -> None:
    """Checks every rule as the app's own role. Raises CatalogueError naming the rule and what breaks it."""
    for rule, sql in _RULES.items():
        rows = await (await connection.execute(sql)).fetchall()
        if rows:
            raise CatalogueError(f"{rule}: {', '.join(str(row['what']) for row in rows)}")
