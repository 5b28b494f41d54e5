-- Objects lie under their project's id. Snapshots are written by the service alone and fetched by signed URL; who reads the
-- project may read them too. Assets are read by who reads the project, its agent included, and added by who writes it;
-- being named by their hash, they are never changed. (The table is storage's: see become_owner.)
do $$
declare
  me text := current_setting('role');
  other record;
begin
  if to_regclass('storage.objects') is null then return; end if;
  for attempt in 1..2 loop
    begin
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
      exit;
    exception when insufficient_privilege then
      if attempt = 2 then raise; end if;
      perform project_sync.become_owner('storage.objects');
    end;
  end loop;
  perform set_config('role', me, true);
  execute format('revoke usage on schema project_sync from %s', (select c.relowner::regrole from pg_class c where c.oid = 'storage.objects'::regclass));
  -- Policies add up, so one of another's making can open what these close.
  for other in select policyname, concat_ws(' ', qual, with_check) as says from pg_policies
      where schemaname = 'storage' and tablename = 'objects' and policyname not like 'project_sync:%'
        and (concat_ws(' ', qual, with_check) !~ 'bucket_id' or concat_ws(' ', qual, with_check) ~ 'project-(snapshots|assets)')
  loop
    raise warning 'the policy "%" on storage.objects also speaks of these buckets: look whether it is still wanted', other.policyname;
  end loop;
end $$;
