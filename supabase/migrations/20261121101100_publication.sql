-- Realtime's publication for postgres_changes. The table is not added: Realtime would then decode every version of every file,
-- and only clients that use its rows as nudges need that. To turn it on:
--   alter publication supabase_realtime add table public.project_files;
do $$
begin
  if not exists (select from pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
  end if;
end $$;
