-- Object names start with the project's id. Only the service writes snapshots; the agent fetches them by signed URL, and
-- people with read access may read them. Assets are read with read access (also by the agent) and added with write access.
-- They are named by their hash and never change. (Storage owns the table: see set_role_to_owner.)
do $$
declare
  original_role text := current_setting('role');
  other record;
begin
  if to_regclass('storage.objects') is null then return; end if;
  for attempt in 1..2 loop
    begin
      drop policy if exists "project_sync: readers read snapshots" on storage.objects;
      create policy "project_sync: readers read snapshots" on storage.objects for select to authenticated
        using (bucket_id = 'project-snapshots'
          and project_sync.parse_project_id(split_part(name, '/', 1)) in (select project_sync.readable_projects()));
      drop policy if exists "project_sync: readers read assets" on storage.objects;
      create policy "project_sync: readers read assets" on storage.objects for select to authenticated, preview_agent
        using (bucket_id = 'project-assets'
          and project_sync.parse_project_id(split_part(name, '/', 1)) in (select project_sync.readable_projects()));
      drop policy if exists "project_sync: writers add assets" on storage.objects;
      create policy "project_sync: writers add assets" on storage.objects for insert to authenticated
        with check (bucket_id = 'project-assets' and name ~ '^[0-9a-f-]{36}/[0-9a-f]{64}$'
          and project_sync.parse_project_id(split_part(name, '/', 1)) in (select project_sync.writable_projects()));
      exit;
    exception when insufficient_privilege then
      if attempt = 2 then raise; end if;
      perform project_sync.set_role_to_owner('storage.objects');
    end;
  end loop;
  perform set_config('role', original_role, true);
  execute format('revoke usage on schema project_sync from %s', (select c.relowner::regrole from pg_class c where c.oid = 'storage.objects'::regclass));
  -- Permissive policies are combined with OR, so another policy can open these buckets.
  for other in select policyname, concat_ws(' ', qual, with_check) as expression from pg_policies
      where schemaname = 'storage' and tablename = 'objects' and policyname not like 'project_sync:%'
        and (concat_ws(' ', qual, with_check) !~ 'bucket_id' or concat_ws(' ', qual, with_check) ~ 'project-(snapshots|assets)')
  loop
    raise warning 'the policy "%" on storage.objects also applies to these buckets; check whether it is still needed', other.policyname;
  end loop;
end $$;
