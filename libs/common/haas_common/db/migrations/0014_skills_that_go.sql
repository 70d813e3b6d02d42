-- A remote worker's skill can be removed: a project has at most 200, and a name belongs to one agent.

SET ROLE haas_owner;
SET search_path = haas, public;

GRANT DELETE ON worker_skills TO haas_app;
