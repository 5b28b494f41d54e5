-- New functions on hosted are executable by PUBLIC, anon and authenticated: taken from all of them, then given to whom each
-- is for.
do $$
declare
  made record;
begin
  for made in
    select p.oid::regprocedure as signature, p.pronamespace = 'public'::regnamespace as is_public, p.proname
    from pg_proc p
    where p.pronamespace = 'project_sync'::regnamespace
      or p.pronamespace = 'public'::regnamespace and obj_description(p.oid, 'pg_proc') like 'project_sync:%'
  loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role, preview_agent', made.signature);
    if made.is_public then
      execute format('grant execute on function %s to service_role', made.signature);
      if made.proname in ('project_head', 'list_project_changes', 'get_project_file', 'list_current_files') then
        execute format('grant execute on function %s to authenticated, preview_agent', made.signature);
      elsif made.proname <> 'prune_project_files' then
        execute format('grant execute on function %s to authenticated', made.signature);
      end if;
    end if;
  end loop;
end $$;

-- What the policies call, with the rights of who asks. Nobody may call them by name: the schema is closed.
grant execute on function project_sync.caller_id(), project_sync.readable_projects(),
  project_sync.writable_projects(), project_sync.projects_owned_by(uuid), project_sync.as_project(text),
  project_sync.flag_is_on(text, uuid) to authenticated, preview_agent, service_role;
