-- Objects lie under their project's id. Snapshots are written by the service alone and fetched by signed URL; who reads the
-- project may read them too. Assets are read by who reads the project, its agent included, and added by who writes it;
-- being named by their hash, they are never changed. On hosted, `postgres` may make policies on this table of storage's;
-- elsewhere this file needs the table's owner.
do $$
declare
  other record;
begin
  if to_regclass('storage.objects') is null then return; end if;
  drop policy if exists "project_sync: who reads a project reads its snapshots" on storage.objects;
  create policy "project_sync: who reads a project reads its snapshots" on storage.objects for select to authenticated
    using (bucket_id = 'project-snapshots'
      and project_sync.as_project(split_part(name, '/', 1)) in (select project_sync.readable_projects()));
  drop policy if exists "project_sync: who reads a project reads its assets" on storage.objects;
  create policy "project_sync: who reads a project reads its assets" on storage.objects for select to authenticated, preview_agent
    using (bucket_id = 'project-assets'
      and project_sync.as_project(split_part(name, '/', 1)) in (select project_sync.readable_projects()));
  drop policy if exists "project_sync: who writes a project adds assets" on storage.objects;
  create policy "project_sync: who writes a project adds assets" on storage.objects for insert to authenticated
    with check (bucket_id = 'project-assets' and name ~ '^[0-9a-f-]{36}/[0-9a-f]{64}$'
      and project_sync.as_project(split_part(name, '/', 1)) in (select project_sync.writable_projects()));
  -- Policies add up, so one of another's making can open what these close.
  for other in select policyname, concat_ws(' ', qual, with_check) as says from pg_policies
      where schemaname = 'storage' and tablename = 'objects' and policyname not like 'project_sync:%'
        and (concat_ws(' ', qual, with_check) !~ 'bucket_id' or concat_ws(' ', qual, with_check) ~ 'project-(snapshots|assets)')
  loop
    raise warning 'the policy "%" on storage.objects also speaks of these buckets: look whether it is still wanted', other.policyname;
  end loop;
end $$;
