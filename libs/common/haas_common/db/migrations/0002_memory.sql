-- Partitions of the history, heads that carry their hash, one narrow way to append, narrow roles.
--
-- `events` is partitioned by cell (a big tenant may get one of its own) and by ranges of `id` (an old range can be
-- detached without a long lock). A head says everything that the next event needs to know, so that an append reads no
-- event: its cost does not grow with the history.

SET ROLE haas_owner;
GRANT CREATE ON SCHEMA haas TO haas_writer;
GRANT USAGE ON SCHEMA haas TO haas_projector, haas_backup;
SET ROLE haas_writer;
SET search_path = haas, public;
GRANT EXECUTE ON FUNCTION haas.scopes(), haas.tenants(), haas.lease() TO haas_projector;
DROP FUNCTION haas.append(json, text, bigint);
DROP TYPE haas.new_event;

RESET ROLE;
SET ROLE haas_owner;

INSERT INTO leases (name) VALUES ('relay/audit'), ('relay/usage');

-- ── The history, moved ───────────────────────────────────────────────────────────────────────────────────────────

-- Its owner reads it once, without a tenant's context.
ALTER TABLE events NO FORCE ROW LEVEL SECURITY;
ALTER TABLE stream_heads NO FORCE ROW LEVEL SECURITY;
ALTER TABLE project_heads NO FORCE ROW LEVEL SECURITY;

CREATE TABLE kept_events AS SELECT * FROM events;
DROP TABLE events;

-- `payload` is json, not jsonb: it keeps the exact bytes, which are what `hash` covers (design 21).
-- `id` and `xid` order the log for readers across tenants; the hash does not cover them, nor `cell`.
-- Partitioned by cell, then by ranges of `id` (design 23): haas.keep_partitions makes them. What is unique is unique in
-- each partition, and over all of them by the heads, which append locks.
CREATE TABLE events (
  id bigint GENERATED ALWAYS AS IDENTITY,
  cell smallint NOT NULL DEFAULT 0,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  tenant_id scope_id NOT NULL CHECK (tenant_id <> '*'),
  project_id scope_id NOT NULL,
  seq bigint NOT NULL CHECK (seq > 0),
  stream text NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  event_type text NOT NULL,
  schema_version smallint NOT NULL DEFAULT 1,
  plan_id text NOT NULL DEFAULT '',
  task_id text NOT NULL DEFAULT '',
  actor text NOT NULL,
  causation_id text NOT NULL DEFAULT '',
  correlation_id text NOT NULL DEFAULT '',
  trace_id text NOT NULL DEFAULT '',
  payload json NOT NULL,
  recorded_at timestamptz NOT NULL,
  hash bytea NOT NULL CHECK (octet_length(hash) = 32)
) PARTITION BY LIST (cell);

ALTER TABLE project_heads ADD COLUMN streams bigint NOT NULL DEFAULT 0 CHECK (streams >= 0);
ALTER TABLE project_heads ADD COLUMN cell smallint NOT NULL DEFAULT 0;
UPDATE project_heads AS p
   SET streams = (SELECT count(*) FROM stream_heads AS s WHERE s.tenant_id = p.tenant_id AND s.project_id = p.project_id);

ALTER TABLE stream_heads ADD COLUMN hash bytea CHECK (octet_length(hash) = 32);
ALTER TABLE stream_heads ADD COLUMN last_seq bigint CHECK (last_seq > 0);
ALTER TABLE stream_heads ADD COLUMN ordinal bigint CHECK (ordinal >= 0);
UPDATE stream_heads AS s SET hash = e.hash, last_seq = e.seq
  FROM kept_events AS e
 WHERE e.tenant_id = s.tenant_id AND e.project_id = s.project_id AND e.stream = s.stream AND e.version = s.version;
UPDATE stream_heads AS s SET ordinal = o.ordinal
  FROM (SELECT tenant_id, project_id, stream, row_number() OVER (PARTITION BY tenant_id, project_id ORDER BY seq) - 1 AS ordinal
          FROM kept_events WHERE version = 1) AS o
 WHERE o.tenant_id = s.tenant_id AND o.project_id = s.project_id AND o.stream = s.stream;
ALTER TABLE stream_heads ALTER COLUMN hash SET NOT NULL, ALTER COLUMN last_seq SET NOT NULL, ALTER COLUMN ordinal SET NOT NULL;
CREATE UNIQUE INDEX stream_heads_by_ordinal ON stream_heads (tenant_id, project_id, ordinal);

-- ── Partitions of the history ───────────────────────────────────────────────────────────────────────────────────

-- Gives a table of the history what every tenant table has: forced row security and the one policy.
CREATE FUNCTION haas.guard(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, haas, pg_temp
AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', relation);
  EXECUTE format('CREATE POLICY one_scope ON %s
    USING ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[]))
    WITH CHECK ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[]))', relation);
END $$;
REVOKE ALL ON FUNCTION haas.guard(regclass) FROM PUBLIC;

-- Makes the nth range of a cell, five million ids, unless it is there; says whether it did. Attaching an empty table
-- blocks nobody.
CREATE FUNCTION haas.add_range(cell_table text, n bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, haas, pg_temp
AS $$
DECLARE
  part text := cell_table || '_p' || n;
BEGIN
  IF to_regclass('haas.' || part) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE haas.%I (LIKE haas.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02)', part);
  EXECUTE format('CREATE UNIQUE INDEX %I ON haas.%I (tenant_id, project_id, seq)', part || '_by_seq', part);
  EXECUTE format('CREATE UNIQUE INDEX %I ON haas.%I (tenant_id, project_id, stream, version)', part || '_by_stream', part);
  EXECUTE format('CREATE INDEX %I ON haas.%I (tenant_id, project_id, plan_id, seq) WHERE plan_id <> ''''', part || '_by_plan', part);
  EXECUTE format('CREATE INDEX %I ON haas.%I (xid, id)', part || '_by_commit', part);
  PERFORM haas.guard(('haas.' || part)::regclass);
  EXECUTE format('ALTER TABLE haas.%I ATTACH PARTITION haas.%I FOR VALUES FROM (%s) TO (%s)', cell_table, part,
                 n * 5000000, (n + 1) * 5000000);
  RETURN true;
END $$;
REVOKE ALL ON FUNCTION haas.add_range(text, bigint) FROM PUBLIC;

-- Makes the ranges that the next events need: in every cell the one that is being written and the one after it. Returns
-- how many it made.
CREATE FUNCTION haas.keep_partitions() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, haas, pg_temp
AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('haas.keep_partitions'));
  RETURN (
    SELECT count(*) FILTER (WHERE haas.add_range(c.relname, s.last_value / 5000000 + ahead))
      FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid, haas.events_id_seq AS s, generate_series(0, 1) AS ahead
     WHERE i.inhparent = 'haas.events'::regclass
  );
END $$;
REVOKE ALL ON FUNCTION haas.keep_partitions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION haas.keep_partitions() TO haas_app;

-- Makes a cell: partitions of its own for the tenants whose project_heads.cell names it. For the operator, not the app.
CREATE FUNCTION haas.add_cell(number smallint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, haas, pg_temp
AS $$
DECLARE
  cell_table text := 'events_c' || number;
BEGIN
  EXECUTE format('CREATE TABLE haas.%I (LIKE haas.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (id)', cell_table);
  PERFORM haas.guard(('haas.' || cell_table)::regclass);
  EXECUTE format('ALTER TABLE haas.events ATTACH PARTITION haas.%I FOR VALUES IN (%s)', cell_table, number);
  PERFORM haas.keep_partitions();
END $$;
REVOKE ALL ON FUNCTION haas.add_cell(smallint) FROM PUBLIC;
SELECT setval('events_id_seq', greatest(1, (SELECT max(id) FROM kept_events)), EXISTS (SELECT FROM kept_events));
SELECT haas.add_cell(0::smallint);
-- A history that is longer than a range already.
DO $$
DECLARE
  n bigint;
BEGIN
  FOR n IN SELECT generate_series(0, (SELECT coalesce(max(id), 0) FROM kept_events) / 5000000 - 1) LOOP
    PERFORM haas.add_range('events_c0', n);
  END LOOP;
END $$;
ALTER TABLE events NO FORCE ROW LEVEL SECURITY;
INSERT INTO events (id, cell, xid, tenant_id, project_id, seq, stream, version, event_type, schema_version, plan_id, task_id, actor,
                    causation_id, correlation_id, trace_id, payload, recorded_at, hash)
OVERRIDING SYSTEM VALUE
SELECT id, 0, xid, tenant_id, project_id, seq, stream, version, event_type, schema_version, plan_id, task_id, actor,
       causation_id, correlation_id, trace_id, payload, recorded_at, hash
  FROM kept_events ORDER BY id;
DROP TABLE kept_events;

SELECT haas.guard('haas.events');
GRANT SELECT ON events TO haas_app;
GRANT SELECT, INSERT ON events TO haas_writer;
ALTER TABLE stream_heads FORCE ROW LEVEL SECURITY;
ALTER TABLE project_heads FORCE ROW LEVEL SECURITY;

-- Whoever holds no lease moves none: not even a statement that was slipped into a tenant's transaction.
ALTER TABLE leases ENABLE ROW LEVEL SECURITY;
CREATE POLICY holders ON leases
  USING (true) WITH CHECK (split_part(name, '/', 1) = split_part((SELECT haas.lease()), '/', 1));
ALTER TABLE relay_cursors ENABLE ROW LEVEL SECURITY;
CREATE POLICY holders ON relay_cursors USING (true) WITH CHECK ('relay/' || name = (SELECT haas.lease()));

-- ── Narrow roles ─────────────────────────────────────────────────────────────────────────────────────────────────

-- A tailing projector reads the history and writes its own read model; it cannot append.
GRANT SELECT ON projects, project_heads, events TO haas_projector;
GRANT SELECT, INSERT, UPDATE ON relay_cursors TO haas_projector;
GRANT SELECT, UPDATE ON leases TO haas_projector;
-- A backup reads everything but the key of the contexts, which the next migration writes anew.
DO $$
DECLARE
  relation regclass;
BEGIN
  FOR relation IN SELECT c.oid FROM pg_class AS c
                   WHERE c.relnamespace = 'haas'::regnamespace AND c.relowner = 'haas_owner'::regrole AND c.relkind IN ('r', 'p', 'S') LOOP
    EXECUTE format('GRANT SELECT ON %s TO haas_backup', relation);
  END LOOP;
END $$;
ALTER DEFAULT PRIVILEGES FOR ROLE haas_owner IN SCHEMA haas GRANT SELECT ON TABLES TO haas_backup;
ALTER DEFAULT PRIVILEGES FOR ROLE haas_owner IN SCHEMA haas GRANT SELECT ON SEQUENCES TO haas_backup;

-- ── Hot tables ───────────────────────────────────────────────────────────────────────────────────────────────────

-- Rows that are updated all the time: room on the page for the next version (no index changes), and cleaned up early.
ALTER TABLE project_heads SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
ALTER TABLE stream_heads SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
ALTER TABLE leases SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);
ALTER TABLE relay_cursors SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);
ALTER TABLE plans SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE tasks_read SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE plan_commands SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE requests SET (autovacuum_vacuum_scale_factor = 0.05);

RESET ROLE;
SET ROLE haas_writer;

DROP FUNCTION haas.event_body(text, text, bigint, text, bigint, text, smallint, text, text, text, text, text, text, timestamptz, json);
-- One link: SHA-256 over the domain, the hash before it, and the event's framed fields (docs/reference/hashing.md).
-- In PL/pgSQL: an aggregate calls an SQL function at twice the price.
CREATE OR REPLACE FUNCTION haas.chain_link(so_far bytea, before bytea, body bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$ BEGIN
  RETURN sha256('\x686161732e6576656e742e763100'::bytea || coalesce(so_far, before) || body);
END $$;

-- The framed fields of an event, in their order: each its length in bytes (4, big-endian), then its bytes, UTF-8.
-- That is how an array's elements look on the wire, behind 20 bytes of header (dimensions, flags, type, size, bound); texts
-- in the client's encoding. One call instead of sixty: 0.8 µs an event beside 15.
CREATE FUNCTION haas.event_body(
  tenant_id text, project_id text, seq bigint, stream text, version bigint, event_type text, schema_version smallint,
  plan_id text, task_id text, actor text, causation_id text, correlation_id text, trace_id text,
  recorded_us bigint, payload text
) RETURNS bytea
LANGUAGE sql STABLE
AS $$
  SELECT substr(array_send(ARRAY[
    tenant_id, project_id, seq::text, stream, version::text, event_type, schema_version::text, plan_id, task_id, actor,
    causation_id, correlation_id, trace_id, recorded_us::text, payload
  ]), 21)
$$;

-- Appends a batch of events in one order, or nothing at all.
--
-- `doc` is one text: the batch's streams, U+001D, its events. Streams, and events, are apart by U+001E, their fields by
-- U+001F; JSON holds no such character, and reading it takes a fifth of what a JSON document of the same takes. A stream:
-- tenant_id, project_id, stream, expected_version ('' for none), each stream once. An event: which of them it is of, from 1;
-- event_type, schema_version, plan_id, task_id, actor, causation_id, correlation_id, trace_id, payload.
--
-- With a lease: its row is locked FOR SHARE and its epoch compared, so that a writer whose lease was taken over can
-- never write (a plain read let it through in 457 of 710 takeovers). A project's head is locked first and serialises all
-- that is appended to the project, so that its streams' heads are read and written without a lock of their own.
-- Raises HA001 (lease lost) and HA002 (a stream is not at its expected version; the detail names it).
CREATE FUNCTION haas.append(doc text, lease_name text DEFAULT NULL, lease_epoch bigint DEFAULT NULL)
RETURNS TABLE (recorded_at timestamptz, seqs bigint[], versions bigint[], hashes bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, haas, pg_temp
-- One plan for all batches: planning the statements anew costs more than a better plan gives (1.1 to 1.4 times at 10 to 100).
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  whose text[];
  field text[];
  head record;
  known record;
  link bytea;
  base bigint;
  streams text[] := string_to_array(split_part(doc, E'\x1d', 1), E'\x1e');
  lines text[] := string_to_array(split_part(doc, E'\x1d', 2), E'\x1e');
  wanted json;
  bases json;
  events bigint;
  projects bigint;
  fresh bigint;
  clash text;
  places bigint[];
  at timestamptz;
  at_us bigint;
BEGIN
  IF lease_name IS NOT NULL THEN
    PERFORM 1 FROM haas.leases AS l WHERE l.name = lease_name AND l.epoch = lease_epoch FOR SHARE;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'lease lost' USING ERRCODE = 'HA001', DETAIL = lease_name;
    END IF;
  END IF;

  -- Fields are framed as the client is sent them.
  IF pg_client_encoding() <> 'UTF8' THEN
    RAISE EXCEPTION 'a client of append speaks UTF8' USING ERRCODE = '22023';
  END IF;

  -- Most appends are a few events of one stream. What follows does the same for any batch, but its statements take 0.5 ms
  -- to start, these 0.3 with the first event and 0.03 with each that follows.
  IF cardinality(streams) = 1 AND cardinality(lines) <= 8 THEN
    whose := string_to_array(streams[1], E'\x1f');
    events := cardinality(lines);
    INSERT INTO haas.project_heads AS h (tenant_id, project_id, last_seq) VALUES (whose[1], whose[2], events)
    ON CONFLICT (tenant_id, project_id) DO UPDATE SET last_seq = h.last_seq + excluded.last_seq
    RETURNING h.tenant_id, h.project_id, h.last_seq - events AS before, h.streams, h.cell INTO head;
    SELECT h.version, h.hash, h.ordinal INTO known FROM haas.stream_heads AS h
     WHERE h.tenant_id = head.tenant_id AND h.project_id = head.project_id AND h.stream = whose[3];
    base := coalesce(known.version, 0);
    IF whose[4] <> '' AND whose[4] <> base::text THEN
      RAISE EXCEPTION 'stream version conflict' USING ERRCODE = 'HA002', DETAIL = whose[3];
    END IF;
    IF head.before = 0 THEN
      SELECT t.cell INTO head.cell FROM haas.tenants AS t WHERE t.tenant_id = head.tenant_id;
    END IF;
    IF base = 0 THEN
      UPDATE haas.project_heads AS h SET streams = h.streams + 1, cell = head.cell
       WHERE h.tenant_id = head.tenant_id AND h.project_id = head.project_id;
    END IF;
    -- The clock is read behind the lock, as below.
    at := clock_timestamp();
    at_us := extract(epoch FROM at) * 1000000;
    link := coalesce(known.hash, decode(repeat('00', 32), 'hex'));
    recorded_at := at;
    hashes := '';
    FOR i IN 1..events LOOP
      field := string_to_array(lines[i], E'\x1f');
      IF cardinality(field) <> 10 OR field[1] <> '1' THEN
        RAISE EXCEPTION 'an event has 10 fields and a stream' USING ERRCODE = '22023';
      END IF;
      link := haas.chain_link(NULL, link, haas.event_body(
        head.tenant_id, head.project_id, head.before + i, whose[3], base + i, field[2], field[3]::smallint, field[4], field[5],
        field[6], field[7], field[8], field[9], at_us, field[10]));
      INSERT INTO haas.events (cell, tenant_id, project_id, seq, stream, version, event_type, schema_version, plan_id, task_id, actor,
                               causation_id, correlation_id, trace_id, payload, recorded_at, hash)
      VALUES (head.cell, head.tenant_id, head.project_id, head.before + i, whose[3], base + i, field[2], field[3]::smallint,
              field[4], field[5], field[6], field[7], field[8], field[9], field[10]::json, at, link);
      seqs[i] := head.before + i;
      versions[i] := base + i;
      hashes := hashes || link;
    END LOOP;
    INSERT INTO haas.stream_heads AS h (tenant_id, project_id, stream, version, hash, last_seq, ordinal)
    VALUES (head.tenant_id, head.project_id, whose[3], base + events, link, head.before + events,
            coalesce(known.ordinal, head.streams))
    ON CONFLICT (tenant_id, project_id, stream) DO UPDATE
       SET version = excluded.version, hash = excluded.hash, last_seq = excluded.last_seq;
    RETURN NEXT;
    RETURN;
  END IF;

  WITH counted AS (
    SELECT split_part(l, E'\x1f', 1)::bigint AS x, count(*) AS n, min(i) AS first
      FROM unnest(lines) WITH ORDINALITY AS l(l, i) GROUP BY 1
  ), named AS MATERIALIZED (
    SELECT x, f[1] AS t, f[2] AS p, f[3] AS s, f[4] AS expected, c.n, c.first
      FROM (SELECT x, string_to_array(l, E'\x1f') AS f FROM unnest(streams) WITH ORDINALITY AS l(l, x) OFFSET 0) AS l
      JOIN counted AS c USING (x)
  ), summed AS MATERIALIZED (
    SELECT t, p, sum(n)::bigint AS n, row_number() OVER () AS k FROM named GROUP BY 1, 2
  ), moved AS (
    INSERT INTO haas.project_heads AS h (tenant_id, project_id, last_seq)
    SELECT w.t, w.p, w.n FROM summed AS w ORDER BY 1, 2
    ON CONFLICT (tenant_id, project_id) DO UPDATE SET last_seq = h.last_seq + excluded.last_seq
    RETURNING h.tenant_id, h.project_id, h.last_seq, h.streams, h.cell
  ), placed AS (
    -- A project's first events: its tenant says where they go, which is looked up for them alone.
    SELECT w.*, m.last_seq - w.n AS b, m.streams AS o,
           CASE WHEN m.last_seq > w.n THEN m.cell
                ELSE (SELECT t.cell FROM haas.tenants AS t WHERE t.tenant_id = w.t) END AS c
      FROM moved AS m JOIN summed AS w ON w.t = m.tenant_id AND w.p = m.project_id
  )
  SELECT json_agg(json_build_object('x', x, 't', n.t, 'p', n.p, 's', s, 'e', expected, 'n', n.n, 'f', first, 'k', k, 'b', b, 'o', o,
                                    'c', c)),
         sum(n.n), max(k)
    INTO wanted, events, projects
    FROM named AS n JOIN placed AS p ON p.t = n.t AND p.p = n.p;

  -- With the heads locked: a fresh snapshot sees every stream as it stands.
  WITH placed AS (
    SELECT w.*, coalesce(h.version, 0) AS v, coalesce(encode(h.hash, 'hex'), repeat('00', 32)) AS h,
           coalesce(h.ordinal, w.o + count(*) FILTER (WHERE h.version IS NULL) OVER (PARTITION BY w.k ORDER BY w.f) - 1) AS ordinal
      FROM json_to_recordset(wanted) AS w(x bigint, t text, p text, s text, e text, n bigint, f bigint, k bigint, b bigint, o bigint,
                                          c smallint)
      LEFT JOIN LATERAL (SELECT h.version, h.hash, h.ordinal FROM haas.stream_heads AS h
                          WHERE h.tenant_id = w.t AND h.project_id = w.p AND h.stream = w.s OFFSET 0) AS h ON true
  )
  SELECT json_agg(json_build_object('x', x, 't', t, 'p', p, 's', s, 'v', v, 'l', v + n, 'o', ordinal, 'h', h, 'k', k, 'b', b, 'c', c)),
         count(*) FILTER (WHERE v = 0), min(s) FILTER (WHERE e <> '' AND e <> v::text)
    INTO bases, fresh, clash
    FROM placed AS w;
  IF events IS DISTINCT FROM cardinality(lines) OR json_array_length(bases) <> cardinality(streams) THEN
    RAISE EXCEPTION 'a stream without an event, or an event without one' USING ERRCODE = '22023';
  END IF;
  IF clash IS NOT NULL THEN
    RAISE EXCEPTION 'stream version conflict' USING ERRCODE = 'HA002', DETAIL = clash;
  END IF;
  IF fresh > 0 THEN
    UPDATE haas.project_heads AS h SET streams = h.streams + f.n, cell = f.c
      FROM (SELECT b.t, b.p, b.c, count(*) AS n FROM json_to_recordset(bases) AS b(t text, p text, v bigint, c smallint)
             WHERE b.v = 0 GROUP BY 1, 2, 3) AS f
     WHERE h.tenant_id = f.t AND h.project_id = f.p;
  END IF;
  IF projects > 1 THEN
    SELECT array_agg(n ORDER BY i) INTO places
      FROM (SELECT i, row_number() OVER (PARTITION BY b.k ORDER BY i) AS n
              FROM unnest(lines) WITH ORDINALITY AS l(l, i)
              JOIN json_to_recordset(bases) AS b(x bigint, k bigint) ON b.x = split_part(l, E'\x1f', 1)::bigint) AS e;
  END IF;

  -- The clock is read behind the lock: in the order of the sequence.
  at := clock_timestamp();
  at_us := extract(epoch FROM at) * 1000000;
  RETURN QUERY
  WITH numbered AS (
    SELECT b.x, b.t, b.p, b.s, b.c, b.o, b.l AS last_version, decode(b.h, 'hex') AS h, b.b + coalesce(places[i], i) AS seq,
           b.v + row_number() OVER (PARTITION BY b.x ORDER BY i) AS version, e.*
      FROM (SELECT i, f[1]::bigint AS of, f[2] AS event_type, f[3]::smallint AS schema_version, f[4] AS plan_id, f[5] AS task_id,
                   f[6] AS actor, f[7] AS causation_id, f[8] AS correlation_id, f[9] AS trace_id,
                   CASE WHEN cardinality(f) = 10 THEN f[10] END AS payload
              FROM (SELECT i, string_to_array(l, E'\x1f') AS f FROM unnest(lines) WITH ORDINALITY AS l(l, i) OFFSET 0) AS l
            OFFSET 0) AS e
      -- The domain is checked once a stream: as text, its pattern was matched twice for every event.
      JOIN json_to_recordset(bases) AS b(x bigint, t haas.scope_id, p haas.scope_id, s text, v bigint, l bigint, o bigint, h text, b bigint,
                                         c smallint)
        ON b.x = e.of
  ), linked AS MATERIALIZED (
    SELECT m.*, haas.chain(m.h, haas.event_body(m.t, m.p, m.seq, m.s, m.version, event_type, schema_version, plan_id, task_id,
                                              actor, causation_id, correlation_id, trace_id, at_us, payload)
           ) OVER (PARTITION BY m.x ORDER BY m.i) AS hash
      FROM numbered AS m ORDER BY m.i
  ), kept AS (
    INSERT INTO haas.events (cell, tenant_id, project_id, seq, stream, version, event_type, schema_version, plan_id, task_id, actor,
                             causation_id, correlation_id, trace_id, payload, recorded_at, hash)
    SELECT l.c, l.t, l.p, l.seq, l.s, l.version, event_type, schema_version, plan_id, task_id, actor, causation_id, correlation_id,
           trace_id, payload::json, at, l.hash
      FROM linked AS l
  ), headed AS (
    INSERT INTO haas.stream_heads AS h (tenant_id, project_id, stream, version, hash, last_seq, ordinal)
    SELECT l.t, l.p, l.s, l.version, l.hash, l.seq, l.o FROM linked AS l WHERE l.version = l.last_version
    ON CONFLICT (tenant_id, project_id, stream) DO UPDATE
       SET version = excluded.version, hash = excluded.hash, last_seq = excluded.last_seq
  )
  SELECT at, array_agg(l.seq), array_agg(l.version), string_agg(l.hash, ''::bytea)
    FROM linked AS l;
END $$;
REVOKE ALL ON FUNCTION haas.append(text, text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION haas.append(text, text, bigint) TO haas_app;

SET ROLE haas_owner;
REVOKE CREATE ON SCHEMA haas FROM haas_writer;
