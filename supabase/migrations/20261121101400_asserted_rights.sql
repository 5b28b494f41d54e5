-- On a hosted project a grant without the right to make it only warns, and every join would fail later. So this checks
-- that the rights exist, and fails if one is missing.
do $$
declare
  missing text[] := '{}';
  required record;
begin
  for required in
    select * from (values
      ('preview_agent', 'project_head(uuid)'), ('preview_agent', 'list_project_changes(uuid,bigint,integer,boolean)'),
      ('preview_agent', 'get_project_file(uuid,text,integer)'), ('preview_agent', 'list_current_files(uuid)'),
      ('authenticated', 'upsert_project_file(uuid,text,text,text,integer)'), ('authenticated', 'bulk_upsert_project_files(uuid,jsonb)'),
      ('service_role', 'prune_project_files(uuid)')) wanted(role, signature)
  loop
    if not has_function_privilege(required.role, 'public.' || required.signature, 'execute') then
      missing := missing || format('%s may not execute %s', required.role, required.signature);
    end if;
    if has_function_privilege('anon', 'public.' || required.signature, 'execute') then
      missing := missing || format('anon may execute %s', required.signature);
    end if;
  end loop;
  if has_function_privilege('preview_agent', 'public.upsert_project_file(uuid,text,text,text,integer)', 'execute') then
    missing := missing || 'preview_agent may execute upsert_project_file'::text;
  end if;
  if not pg_has_role('authenticator', 'preview_agent', 'member') then
    missing := missing || 'authenticator may not become preview_agent'::text;
  end if;
  if not has_table_privilege('preview_agent', 'public.project_files', 'select')
      or has_table_privilege('preview_agent', 'public.project_files', 'insert, update, delete, truncate') then
    missing := missing || 'preview_agent must have SELECT on project_files and nothing else'::text;
  end if;
  if has_table_privilege('anon', 'public.project_files', 'select, insert, update, delete, truncate') then
    missing := missing || 'anon has rights to project_files'::text;
  end if;
  if has_schema_privilege('anon', 'project_sync', 'usage') or has_schema_privilege('authenticated', 'project_sync', 'usage') then
    missing := missing || 'anon or authenticated has USAGE on schema project_sync'::text;
  end if;
  if to_regclass('realtime.messages') is not null then
    if not has_schema_privilege('preview_agent', 'realtime', 'usage')
        or not has_table_privilege('preview_agent', 'realtime.messages', 'select')
        or not has_table_privilege('preview_agent', 'realtime.messages', 'insert') then
      missing := missing || 'preview_agent lacks SELECT or INSERT on realtime.messages, which it inherits from anon'::text;
    end if;
    if (select count(*) from pg_policies where schemaname = 'realtime' and tablename = 'messages'
        and policyname like 'project_sync:%') <> 4 then
      missing := missing || 'policies on realtime.messages'::text;
    end if;
  end if;
  if to_regclass('storage.objects') is not null then
    if not has_table_privilege('preview_agent', 'storage.objects', 'select') then
      missing := missing || 'preview_agent may not read storage.objects'::text;
    end if;
    if (select count(*) from pg_policies where schemaname = 'storage' and tablename = 'objects'
        and policyname like 'project_sync:%') <> 3 then
      missing := missing || 'policies on storage.objects'::text;
    end if;
  end if;
  if missing <> '{}' then
    raise exception 'wrong access rights: %', array_to_string(missing, '; ');
  end if;
end $$;
