"""Mistakes that a migration or an administrator may make, each with the rule of the lint that names it.

`{t}` stands for a tenant's table or partition, `{p}` for its policy: such a mistake is made on each of them in turn.
"""

from dataclasses import dataclass

OWN = "(tenant_id || '/' || project_id) = ANY ((SELECT haas.scopes())::text[])"
COLUMNS = "tenant_id haas.scope_id NOT NULL, project_id haas.scope_id NOT NULL, n int"
GUARD = f"""
    ALTER TABLE haas.notes OWNER TO haas_owner;
    ALTER TABLE haas.notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY one_scope ON haas.notes USING ({OWN}) WITH CHECK ({OWN});
    GRANT SELECT, INSERT ON haas.notes TO haas_app;"""
#: A new table as it should be; what has a mistake differs from it in one thing.
SOUND = f"CREATE TABLE haas.notes ({COLUMNS}, PRIMARY KEY (tenant_id, project_id, n));{GUARD}"
ROWS = "INSERT INTO haas.notes VALUES ('t-one', 'p-one', 1), ('t-two', 'p-two', 2), ('t-one', 'p-sib', 3);"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake.

    Attributes:
        change: SQL, run as the superuser.
        rule: words of the rule that must name it.
        probe: what an intruder wins by it; "" where it is a wall less, but no way in by itself.
        partly: whether that depends on what else the app may do with the table.
        before: SQL, run once before.
    """

    change: str
    rule: str
    probe: str = ""
    partly: bool = False
    before: str = ""


#: On every tenant table and partition.
EVERYWHERE = {
    "row security is off": Mutant("ALTER TABLE haas.{t} DISABLE ROW LEVEL SECURITY", "force row security", "reads"),
    "row security is not forced": Mutant("ALTER TABLE haas.{t} NO FORCE ROW LEVEL SECURITY", "force row security"),
    "a policy lets everything through": Mutant(
        "ALTER POLICY {p} ON haas.{t} USING (true) WITH CHECK (true)", "exactly one policy", "reads"
    ),
    "a policy adds OR true": Mutant(
        "ALTER POLICY {p} ON haas.{t} USING (tenant_id = ANY ((SELECT haas.scopes())::text[]) OR true)",
        "exactly one policy",
        "reads",
    ),
    "a policy is permissive while nothing is set": Mutant(
        "ALTER POLICY {p} ON haas.{t} USING (tenant_id = current_setting('app.tenant', true)"
        " OR current_setting('app.tenant', true) IS NULL)",
        "exactly one policy",
        "reads",
    ),
    "a policy trusts a plain setting": Mutant(
        "ALTER POLICY {p} ON haas.{t} USING (tenant_id = coalesce(nullif(current_setting('app.tenant', true), ''),"
        " 't-two'))",
        "exactly one policy",
        "reads",
    ),
    "a second policy admits more": Mutant("CREATE POLICY open ON haas.{t} USING (true)", "exactly one policy", "reads"),
    "a policy is for reading only": Mutant(
        "DROP POLICY {p} ON haas.{t}; CREATE POLICY {p} ON haas.{t} FOR SELECT USING (true)",
        "exactly one policy",
        "reads",
    ),
    "a policy is for one role only": Mutant("ALTER POLICY {p} ON haas.{t} TO haas_app", "exactly one policy"),
    "a policy checks no writes": Mutant(
        "ALTER POLICY {p} ON haas.{t} WITH CHECK (true)", "exactly one policy", "adds to", partly=True
    ),
    "there is no policy": Mutant("DROP POLICY {p} ON haas.{t}", "exactly one policy"),
    "a policy asks another function": Mutant(
        "ALTER POLICY {p} ON haas.{t} USING (tenant_id || '/p-two' = ANY ((SELECT public.scopes())::text[]))",
        "PostgreSQL's operators",
        "reads",
        before=(
            "CREATE FUNCTION public.scopes() RETURNS text[] LANGUAGE sql VOLATILE AS $$ SELECT ARRAY['t-two/p-two'] $$;"
        ),
    ),
    "a policy compares by an operator of ours": Mutant(
        "ALTER POLICY {p} ON haas.{t} USING (tenant_id::text OPERATOR(haas.=) 'x'::text)",
        "PostgreSQL's operators",
        "reads",
        before=(
            "CREATE FUNCTION haas.same(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true';"
            "CREATE OPERATOR haas.= (LEFTARG = text, RIGHTARG = text, FUNCTION = haas.same);"
        ),
    ),
    "a view sees as its owner": Mutant(
        "CREATE VIEW haas.all_{t} AS SELECT * FROM haas.{t}; GRANT SELECT ON haas.all_{t} TO haas_app",
        "views see",
        "reads",
    ),
    "a materialised view": Mutant(
        "CREATE MATERIALIZED VIEW haas.all_{t} AS SELECT * FROM haas.{t};GRANT SELECT ON haas.all_{t} TO haas_app",
        "views see",
        "reads",
    ),
    "a copy of a table": Mutant(
        "CREATE TABLE haas.kept_{t} AS SELECT * FROM haas.{t}; ALTER TABLE haas.kept_{t} OWNER TO haas_owner;"
        "GRANT SELECT ON haas.kept_{t} TO haas_app",
        "force row security",
        "reads",
    ),
    "a copy under another name of the column": Mutant(
        "CREATE TABLE haas.kept_{t} AS SELECT tenant_id AS whose FROM haas.{t};"
        "GRANT SELECT ON haas.kept_{t} TO haas_app",
        "only the fleet's own",
        "reads",
    ),
    "a copy in another schema": Mutant(
        "CREATE TABLE public.kept_{t} AS SELECT * FROM haas.{t}; GRANT SELECT ON public.kept_{t} TO PUBLIC",
        "only the fleet's own",
        "reads",
    ),
    "a trigger on a table": Mutant(
        "CREATE TRIGGER copies_{t} AFTER INSERT ON haas.{t} EXECUTE FUNCTION public.copies()",
        "no trigger",
        before=("CREATE FUNCTION public.copies() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"),
    ),
    "a table may be truncated": Mutant("GRANT TRUNCATE ON haas.{t} TO haas_app", "truncate the history", "empties"),
    "a table may be referenced": Mutant("GRANT REFERENCES ON haas.{t} TO haas_app", "truncate the history"),
    "a trigger may be put on a table": Mutant(
        "GRANT TRIGGER ON haas.{t} TO haas_app", "truncate the history", "puts a trigger on"
    ),
    "a table may be vacuumed and locked": Mutant("GRANT MAINTAIN ON haas.{t} TO haas_app", "truncate the history"),
    "everyone may read a table": Mutant("GRANT SELECT ON haas.{t} TO PUBLIC", "nobody but the fleet's roles"),
    "a unique key leaves out the tenant": Mutant(
        "DO $$ BEGIN EXECUTE (SELECT format('CREATE UNIQUE INDEX odd_{t} ON haas.{t} (%I)', a.attname)"
        " FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[x.indnkeyatts - 1]"
        " WHERE x.indrelid = 'haas.{t}'::regclass AND x.indisunique ORDER BY x.indisprimary DESC LIMIT 1); END $$",
        "unique key",
        "tells keys apart of",
        partly=True,
    ),
    "another role owns a table": Mutant("ALTER TABLE haas.{t} OWNER TO haas_writer", "nobody's login"),
}

#: Once.
ONCE = {
    "the app owns a table": Mutant("ALTER TABLE haas.leases OWNER TO haas_app", "own anything", "drops a table"),
    "the app owns a tenant's table": Mutant(
        "ALTER TABLE haas.plans OWNER TO haas_app", "own anything", "empties haas.plans"
    ),
    "the app may become the owner": Mutant("GRANT haas_owner TO haas_app", "own anything", "becomes the owner"),
    "the app may become the writer": Mutant("GRANT haas_writer TO haas_app", "own anything", "becomes the writer"),
    "the app reads all data": Mutant("GRANT pg_read_all_data TO haas_app", "own anything", "key of the contexts"),
    "the app reads the server's files": Mutant("GRANT pg_read_server_files TO haas_app", "own anything", "files"),
    "the app bypasses row security": Mutant("ALTER ROLE haas_app BYPASSRLS", "bypass row security", "reads"),
    "the app is a superuser": Mutant("ALTER ROLE haas_app SUPERUSER", "must not be a superuser", "reads"),
    "the app may make roles": Mutant("ALTER ROLE haas_app CREATEROLE", "own anything", "makes a role"),
    "the app may copy the database's log": Mutant("ALTER ROLE haas_app REPLICATION", "own anything"),
    "the writer bypasses row security": Mutant("ALTER ROLE haas_writer BYPASSRLS", "nobody's login"),
    "the owner may log in": Mutant("ALTER ROLE haas_owner LOGIN", "nobody's login"),
    "the writer may become the owner": Mutant("GRANT haas_owner TO haas_writer", "nobody's login"),
    "a superuser owns append": Mutant("ALTER FUNCTION haas.append OWNER TO CURRENT_USER", "listed functions"),
    "append finds its names anywhere": Mutant("ALTER FUNCTION haas.append RESET search_path", "listed functions"),
    "everyone may append": Mutant("GRANT EXECUTE ON FUNCTION haas.append TO PUBLIC", "listed functions"),
    "an append of the same name": Mutant(
        "CREATE FUNCTION haas.append(text) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT $1'",
        "listed functions",
    ),
    "a function runs as a superuser": Mutant(
        "CREATE FUNCTION haas.peek() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER"
        " AS 'SELECT p::text FROM haas.plans AS p'",
        "listed functions",
        "calls haas.peek",
    ),
    "a function elsewhere runs as a superuser": Mutant(
        "CREATE FUNCTION public.peek() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER"
        " AS 'SELECT p::text FROM haas.plans AS p'",
        "listed functions",
        "calls public.peek",
    ),
    "a function claims to leak nothing": Mutant(
        "CREATE FUNCTION haas.peek(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 LEAKPROOF AS"
        " 'BEGIN RAISE NOTICE ''%'', t; RETURN true; END'",
        "listed functions",
        "hears haas.peek",
    ),
    "the context's function says more": Mutant(
        "CREATE OR REPLACE FUNCTION haas.scopes() RETURNS text[] LANGUAGE sql STABLE SECURITY DEFINER"
        " SET search_path = pg_catalog, haas, pg_temp AS $$ SELECT ARRAY['t-one/p-one', 't-two/p-two'] $$",
        "functions that read the signed context",
        "reads",
    ),
    "the context's function is volatile": Mutant("ALTER FUNCTION haas.scopes() VOLATILE", "functions that read"),
    "the history may be changed": Mutant("GRANT UPDATE ON haas.events TO haas_app", "history", "changes the history"),
    "the history may be deleted": Mutant("GRANT DELETE ON haas.events TO haas_app", "history", "deletes the history"),
    "the history may be written past append": Mutant("GRANT INSERT ON haas.events TO haas_app", "history"),
    "one column of the history may be changed": Mutant(
        "GRANT UPDATE (actor) ON haas.events TO haas_app", "history", "changes the history"
    ),
    "the heads may be moved": Mutant("GRANT UPDATE ON haas.project_heads TO haas_app", "history", "moves a head"),
    "a plan may be deleted, that a shard's owner sees": Mutant(
        "GRANT DELETE ON haas.plans TO haas_app", "restrictive policy", "deletes where a lease"
    ),
    "the app reads the key of the contexts": Mutant(
        "GRANT SELECT ON haas.context_keys TO haas_app", "key that signs", "key of the contexts"
    ),
    "the app reads half of the key": Mutant(
        "GRANT SELECT (inner_pad) ON haas.context_keys TO haas_app", "key that signs", "half of the key"
    ),
    "everyone reads half of the key": Mutant(
        "GRANT SELECT (inner_pad) ON haas.context_keys TO PUBLIC", "key that signs", "half of the key"
    ),
    "a stranger reads a table": Mutant("CREATE ROLE stranger; GRANT SELECT ON haas.plans TO stranger", "nobody but"),
    "tables to come are everyone's": Mutant(
        "ALTER DEFAULT PRIVILEGES FOR ROLE haas_owner IN SCHEMA haas GRANT SELECT ON TABLES TO PUBLIC", "beforehand"
    ),
    "tables to come are the app's": Mutant("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO haas_app", "beforehand"),
    "the app makes tables": Mutant("GRANT CREATE ON SCHEMA haas TO haas_app", "create nothing", "makes a table"),
    "everyone makes tables": Mutant("GRANT CREATE ON SCHEMA public TO PUBLIC", "create nothing", "makes a table"),
    "the app makes schemas": Mutant(
        "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO haas_app', current_database()); END $$",
        "create nothing",
        "makes a schema",
    ),
    "everyone makes temporary tables": Mutant(
        "DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO PUBLIC', current_database()); END $$",
        "create nothing",
        "temporary",
    ),
    "the app reads a sequence of all tenants": Mutant(
        "GRANT USAGE, SELECT ON SEQUENCE haas.events_id_seq TO haas_app", "no sequence", "sequence"
    ),
    "the app's sessions run as another role": Mutant("ALTER ROLE haas_app SET role = 'haas_owner'", "starts with"),
    "the app's sessions start with a context": Mutant("ALTER ROLE haas_app SET haas.ctx = 'x'", "starts with"),
    "the app's sessions fire no triggers": Mutant(
        "ALTER ROLE haas_app SET session_replication_role = replica", "starts with"
    ),
    "the app may switch triggers off": Mutant(
        "GRANT SET ON PARAMETER session_replication_role TO haas_app", "starts with", "switches triggers off"
    ),
    "the app reads the statistics": Mutant(
        "GRANT SELECT ON pg_catalog.pg_statistic TO haas_app", "PostgreSQL ships", "statistics"
    ),
    "the app reads files": Mutant(
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO haas_app", "PostgreSQL ships", "files"
    ),
    "the empty text is a tenant": Mutant("ALTER DOMAIN haas.scope_id DROP CONSTRAINT scope_id_check", "never empty"),
    "a rule writes elsewhere": Mutant(
        "CREATE RULE also AS ON INSERT TO haas.inputs DO ALSO NOTIFY others", "no trigger and no rewrite"
    ),
    "the backup may write": Mutant("GRANT UPDATE ON haas.plans TO haas_backup", "backup's role"),
    "the backup may append": Mutant("GRANT EXECUTE ON FUNCTION haas.append TO haas_backup", "backup's role"),
    "the projector may append to the history": Mutant("GRANT INSERT ON haas.events TO haas_projector", "history"),
    "the projector bypasses row security": Mutant("ALTER ROLE haas_projector BYPASSRLS", "bypass row security"),
    "a new table without a guard": Mutant(
        f"CREATE TABLE haas.notes ({COLUMNS}, PRIMARY KEY (tenant_id, project_id, n)); {ROWS}"
        "ALTER TABLE haas.notes OWNER TO haas_owner; GRANT SELECT ON haas.notes TO haas_app",
        "force row security",
        "reads haas.notes",
    ),
    "the tenant may be null": Mutant(
        "CREATE TABLE haas.notes (tenant_id haas.scope_id, project_id haas.scope_id, n int);"
        f"CREATE UNIQUE INDEX one ON haas.notes (tenant_id, project_id, n); {GUARD}",
        "never null",
    ),
    "a new table without a key": Mutant(f"CREATE TABLE haas.notes ({COLUMNS}); {GUARD}", "unique key"),
    "a key of the tenant but not of the project": Mutant(
        f"CREATE TABLE haas.notes ({COLUMNS}, PRIMARY KEY (tenant_id, n)); {GUARD} {ROWS}", "unique key"
    ),
    "a new table keyed by a number": Mutant(
        f"CREATE TABLE haas.notes ({COLUMNS}, PRIMARY KEY (n)); {GUARD} {ROWS}", "unique key", "tells keys"
    ),
    "a tenant of plain text": Mutant(
        "CREATE TABLE haas.notes (tenant_id text NOT NULL, project_id text NOT NULL,"
        f" PRIMARY KEY (tenant_id, project_id)); {GUARD}",
        "never empty",
    ),
    "a foreign key without the tenant": Mutant(
        f"{SOUND} CREATE TABLE haas.shelves (id int PRIMARY KEY); INSERT INTO haas.shelves VALUES (2);"
        " ALTER TABLE haas.notes ADD FOREIGN KEY (n) REFERENCES haas.shelves",
        "foreign key",
        "tells keys",
    ),
    "a foreign key to another tenant's rows": Mutant(
        f"{SOUND} ALTER TABLE haas.notes ADD owner haas.scope_id;"
        " ALTER TABLE haas.notes ADD FOREIGN KEY (owner, project_id) REFERENCES haas.projects",
        "foreign key",
    ),
    "a foreign key without the project": Mutant(
        f"{SOUND} ALTER TABLE haas.notes ADD place haas.scope_id;"
        " ALTER TABLE haas.notes ADD FOREIGN KEY (tenant_id, place) REFERENCES haas.projects",
        "foreign key",
    ),
    "a partition without a guard": Mutant(
        "CREATE TABLE haas.loose (LIKE haas.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS);"
        "ALTER TABLE haas.loose OWNER TO haas_owner; ALTER TABLE haas.loose ALTER cell SET DEFAULT 99;"
        "INSERT INTO haas.loose SELECT * FROM haas.events; UPDATE haas.loose SET cell = 99;"
        "ALTER TABLE haas.events ATTACH PARTITION haas.loose FOR VALUES IN (99);"
        "GRANT SELECT ON haas.loose TO haas_app",
        "force row security",
        "reads haas.loose",
    ),
}
