-- Retention and growth: who keeps room for the next events, and the cell that a tenant's new projects begin in.

SET ROLE haas_owner;
SET search_path = haas, public;

INSERT INTO leases (name) VALUES ('relay/history');

-- The cell that the events of the tenant's projects go to; haas.append reads it for a project's first event alone.
ALTER TABLE tenants ADD COLUMN cell smallint NOT NULL DEFAULT 0 CHECK (cell >= 0);
GRANT SELECT (tenant_id, cell) ON tenants TO haas_writer;
