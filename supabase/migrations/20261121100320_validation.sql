-- Checks the constraints of the previous migration for the existing rows. Readers and writers continue meanwhile.
select set_config('statement_timeout', '0', true), set_config('lock_timeout', '60s', true);
do $$
declare
  unchecked record;
begin
  for unchecked in select c.conname from pg_constraint c
      where c.conrelid = 'public.project_files'::regclass and c.conname like 'project_files_sync_%' and not c.convalidated
  loop
    execute format('alter table public.project_files validate constraint %I', unchecked.conname);
  end loop;
end $$;
-- The other rules for rows: a row that breaks one would be a fault of the adoption.
do $$
declare
  invalid record;
begin
  select f.id, f.file_path into invalid from public.project_files f
    where not project_sync.row_is_valid(f.version, f.revision, f.superseded_revision, f.is_current_version, f.is_deleted,
      f.content is not null, f.content_hash, f.size, f.encoding, f.file_type) limit 1;
  if found then raise exception 'the row % of project_files (%) is not valid after the adoption', invalid.id, left(invalid.file_path, 200); end if;
end $$;
