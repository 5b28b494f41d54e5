-- The validated check lets PostgreSQL set the columns NOT NULL without reading the table; then the check is not needed.
select set_config('lock_timeout', '10s', true);
do $$
begin
  if exists (select from pg_constraint c where c.conrelid = 'public.project_files'::regclass and c.conname = 'project_files_sync_not_null') then
    alter table public.project_files
      alter column project_id set not null,
      alter column file_path set not null,
      alter column file_type set not null,
      alter column version set not null,
      alter column is_current_version set not null,
      alter column revision set not null,
      alter column encoding set not null,
      alter column is_deleted set not null;
    alter table public.project_files drop constraint project_files_sync_not_null;
  end if;
  -- The transactions of the adoption are needed no more.
  delete from project_sync.adoptions;
end $$;
