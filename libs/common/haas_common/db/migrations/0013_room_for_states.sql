-- A task's row is written two or three times: with room for them on its page, no index is touched (97 of 100 updates
-- instead of 47).

SET ROLE haas_owner;
SET search_path = haas, public;

ALTER TABLE tasks_read SET (fillfactor = 50);
