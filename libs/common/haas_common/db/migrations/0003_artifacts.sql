-- Artifacts: a status is one of the machine's, and what a link or a blob's hash names is found by an index.
SET ROLE haas_owner;
SET search_path = haas, public;

ALTER TABLE artifacts_read ADD CONSTRAINT artifacts_read_status_check
  CHECK (status IN ('draft', 'in_progress', 'final', 'superseded', 'invalid'));
CREATE INDEX documents_by_ref ON documents (tenant_id, project_id, ref);
