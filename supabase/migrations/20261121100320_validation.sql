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
