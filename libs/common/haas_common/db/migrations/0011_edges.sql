-- A task's edges are those of its contract: a revision takes the ones before away.

SET ROLE haas_owner;
SET search_path = haas, public;

GRANT DELETE ON task_edges TO haas_app;
