-- On a hosted project PUBLIC, anon and authenticated may execute new functions. Revoke that from all, then grant what each
-- role needs.
do $$
declare
  api_function record;
begin
  for api_function in
    select p.oid::regprocedure as signature, p.pronamespace = 'public'::regnamespace as is_public, p.proname
    from pg_proc p
    where p.pronamespace = 'project_sync'::regnamespace
      or p.pronamespace = 'public'::regnamespace and obj_description(p.oid, 'pg_proc') like 'project_sync:%'
  loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role, preview_agent', api_function.signature);
    if api_function.is_public then
      execute format('grant execute on function %s to service_role', api_function.signature);
      if api_function.proname in ('project_head', 'list_project_changes', 'get_project_file', 'list_current_files') then
        execute format('grant execute on function %s to authenticated, preview_agent', api_function.signature);
      elsif api_function.proname <> 'prune_project_files' then
        execute format('grant execute on function %s to authenticated', api_function.signature);
      end if;
    end if;
  end loop;
end $$;

-- Functions that policies call with the caller's rights. They cannot be called by name, because the schema has no USAGE grant.
grant execute on function project_sync.caller_id(), project_sync.readable_projects(),
  project_sync.writable_projects(), project_sync.projects_owned_by(uuid), project_sync.parse_project_id(text),
  project_sync.flag_is_on(text, uuid) to authenticated, preview_agent, service_role;
