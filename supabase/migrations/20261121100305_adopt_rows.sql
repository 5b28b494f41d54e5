-- Step 2 of the adoption: no lock on the table. Writers of the same rows wait until it commits; for large tables run
-- project_sync.backfill() before, so that little is left to do here.
select set_config('lock_timeout', '60s', true), set_config('statement_timeout', '0', true);
select project_sync.adopt_projects();
select project_sync.adopt_rows(project_sync.projects_to_adopt());
