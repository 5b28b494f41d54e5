-- A grant that the role may not make only warns on hosted, and every join would be refused later: ask whether the rights
-- are really there, and fail where they are not.
do $$
declare
  lacking text[] := '{}';
  need record;
begin
  for need in
    select * from (values
      ('preview_agent', 'project_head(uuid)'), ('preview_agent', 'list_project_changes(uuid,bigint,integer,boolean)'),
      ('preview_agent', 'get_project_file(uuid,text,integer)'), ('preview_agent', 'list_current_files(uuid)'),
      ('authenticated', 'upsert_project_file(uuid,text,text,text,integer)'), ('authenticated', 'bulk_upsert_project_files(uuid,jsonb)'),
      ('service_role', 'prune_project_files(uuid)')) wanted(role, signature)
  loop
    if not has_function_privilege(need.role, 'public.' || need.signature, 'execute') then
      lacking := lacking || format('%s may not execute %s', need.role, need.signature);
    end if;
    if has_function_privilege('anon', 'public.' || need.signature, 'execute') then
      lacking := lacking || format('anon may execute %s', need.signature);
    end if;
  end loop;
  if has_function_privilege('preview_agent', 'public.upsert_project_file(uuid,text,text,text,integer)', 'execute') then
    lacking := lacking || 'preview_agent may execute upsert_project_file'::text;
  end if;
  if not pg_has_role('authenticator', 'preview_agent', 'member') then
    lacking := lacking || 'authenticator may not become preview_agent'::text;
  end if;
  if not has_table_privilege('preview_agent', 'public.project_files', 'select')
      or has_table_privilege('preview_agent', 'public.project_files', 'insert, update, delete, truncate') then
    lacking := lacking || 'preview_agent should read project_files and no more'::text;
  end if;
  if has_table_privilege('anon', 'public.project_files', 'select, insert, update, delete, truncate') then
    lacking := lacking || 'anon has rights to project_files'::text;
  end if;
  if has_schema_privilege('anon', 'project_sync', 'usage') or has_schema_privilege('authenticated', 'project_sync', 'usage') then
    lacking := lacking || 'project_sync is open'::text;
  end if;
  if to_regclass('realtime.messages') is not null then
    if not has_schema_privilege('preview_agent', 'realtime', 'usage')
        or not has_table_privilege('preview_agent', 'realtime.messages', 'select')
        or not has_table_privilege('preview_agent', 'realtime.messages', 'insert') then
      lacking := lacking || 'preview_agent may not join: anon''s rights to realtime.messages did not reach it'::text;
    end if;
    if (select count(*) from pg_policies where schemaname = 'realtime' and tablename = 'messages'
        and policyname like 'project_sync:%') <> 4 then
      lacking := lacking || 'policies on realtime.messages'::text;
    end if;
  end if;
  if to_regclass('storage.objects') is not null then
    if not has_table_privilege('preview_agent', 'storage.objects', 'select') then
      lacking := lacking || 'preview_agent may not read storage.objects'::text;
    end if;
    if (select count(*) from pg_policies where schemaname = 'storage' and tablename = 'objects'
        and policyname like 'project_sync:%') <> 3 then
      lacking := lacking || 'policies on storage.objects'::text;
    end if;
  end if;
  if lacking <> '{}' then
    raise exception 'the rights are not as they should be: %', array_to_string(lacking, '; ');
  end if;
end $$;
