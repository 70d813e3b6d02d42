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
    "a tenant table has exactly one policy, for every command and role, that asks the signed context": b"""
        SELECT c.relname AS what FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace
          LEFT JOIN pg_policy p ON p.polrelid = c.oid
         WHERE n.nspname = 'haas' AND c.relkind IN ('r', 'p') AND c.relrowsecurity
         GROUP BY c.relname
        HAVING count(p.oid) <> 1
            OR bool_or(p.polcmd <> '*' OR NOT p.polpermissive OR p.polroles <> '{0}'
                       OR pg_get_expr(p.polqual, p.polrelid) !~ 'haas\\.(scopes|tenants)\\(\\)|(scopes|tenants)\\(\\)'
                       OR pg_get_expr(p.polwithcheck, p.polrelid) IS NULL)""",
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
        SELECT g.table_name || ' ' || g.privilege_type AS what FROM information_schema.role_table_grants g
         WHERE g.table_schema = 'haas' AND g.grantee = current_user
           AND (g.privilege_type IN ('TRUNCATE', 'REFERENCES', 'TRIGGER')
                OR g.table_name IN ('events', 'project_heads', 'stream_heads') AND g.privilege_type <> 'SELECT')""",
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
