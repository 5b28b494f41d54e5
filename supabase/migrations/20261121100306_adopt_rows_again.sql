-- Step 2 of the adoption once more: the rows that were written while the previous migration ran, so that few are left for
-- the exclusive lock of the next one.
select set_config('lock_timeout', '60s', true), set_config('statement_timeout', '0', true);
select project_sync.adopt_projects();
select project_sync.adopt_rows(project_sync.projects_to_adopt());
