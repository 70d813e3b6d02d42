-- Keys that personal data is sealed under, and what was erased with them (haas_common.sealing).
SET ROLE haas_owner;
SET search_path = haas, public;

-- A key per project and person ('' for what is nobody's own), wrapped by the fleet's data.key. Destroying it erases
-- whatever was sealed under it; the row stays and says when.
CREATE TABLE data_keys (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  key_id text NOT NULL,
  subject text NOT NULL,
  wrapped bytea CHECK (octet_length(wrapped) = 64),
  created_at timestamptz NOT NULL DEFAULT now(),
  destroyed_at timestamptz,
  PRIMARY KEY (tenant_id, project_id, key_id),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects,
  CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);
CREATE UNIQUE INDEX data_keys_living ON data_keys (tenant_id, project_id, subject) WHERE destroyed_at IS NULL;

-- Blobs that an erasure removes: pending until the store has let go of them, so that a crash in between is made up for.
CREATE TABLE erased_blobs (
  tenant_id scope_id NOT NULL,
  project_id scope_id NOT NULL,
  ref text NOT NULL,
  erased_at timestamptz NOT NULL DEFAULT now(),
  deleted_at timestamptz,
  PRIMARY KEY (tenant_id, project_id, ref),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
CREATE INDEX erased_blobs_pending ON erased_blobs (tenant_id, project_id, ref) WHERE deleted_at IS NULL;

DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['data_keys', 'erased_blobs'] LOOP
    EXECUTE format('ALTER TABLE haas.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY one_scope ON haas.%I
      USING ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[]))
      WITH CHECK ((tenant_id || ''/'' || project_id) = ANY ((SELECT haas.scopes())::text[]))', t);
  END LOOP;
END $$;

GRANT SELECT, INSERT, UPDATE (wrapped, destroyed_at) ON data_keys TO haas_app;
GRANT SELECT, INSERT, UPDATE (erased_at, deleted_at) ON erased_blobs TO haas_app;
-- What an erasure takes away.
GRANT DELETE ON inputs TO haas_app;
