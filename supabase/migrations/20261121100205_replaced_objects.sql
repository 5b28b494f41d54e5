-- Legacy functions, policies, constraints and indexes that the migrations replace. Their definitions are kept, so that
-- take_back.sql can restore them.
create table if not exists project_sync.replaced (
  kind text not null check (kind in ('policy', 'function', 'constraint', 'index')),
  name text not null,
  definition text not null,
  replaced_at timestamptz not null default now(),
  primary key (kind, name)
);

-- Drops legacy functions with these names: `create or replace` cannot change their signatures. Called by the migration that
-- creates the new functions, so that callers find the old or the new ones at any time.
create or replace function project_sync.drop_legacy_functions(variadic names text[]) returns void
language plpgsql set search_path = '' as $$
declare
  legacy record;
begin
  for legacy in
    select p.oid::regprocedure as signature, pg_get_functiondef(p.oid) as definition,
      coalesce((select string_agg(format(';grant execute on function %s to %s', p.oid::regprocedure,
          case a.grantee when 0 then 'public' else quote_ident(a.grantee::regrole::text) end), '' order by a.grantee)
        from aclexplode(p.proacl) a where a.grantee <> p.proowner and a.privilege_type = 'EXECUTE'), '') as grants
    from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.prokind = 'f' and p.proname = any(names)
      and coalesce(obj_description(p.oid, 'pg_proc'), '') not like 'project_sync:%'
  loop
    insert into project_sync.replaced (kind, name, definition)
      values ('function', legacy.signature::text, legacy.definition || legacy.grants) on conflict do nothing;
    execute format('drop function %s', legacy.signature);
  end loop;
end $$;

-- Who may execute the functions. On a hosted project PUBLIC, anon and authenticated may execute new functions, so all rights
-- are revoked first. Called at the end of each migration that creates functions.
create or replace function project_sync.grant_functions() returns void
language plpgsql set search_path = '' as $$
declare
  api_function record;
begin
  for api_function in
    select p.oid::regprocedure as signature, p.pronamespace = 'public'::regnamespace as is_public, p.proname
    from pg_proc p
    where p.prokind = 'f' and (p.pronamespace = 'project_sync'::regnamespace
      or p.pronamespace = 'public'::regnamespace and obj_description(p.oid, 'pg_proc') like 'project_sync:%')
  loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role, preview_agent', api_function.signature);
    if api_function.is_public then
      execute format('grant execute on function %s to service_role', api_function.signature);
      if api_function.proname in ('project_head', 'list_project_changes', 'get_project_file', 'list_current_files') then
        execute format('grant execute on function %s to authenticated, preview_agent', api_function.signature);
      elsif api_function.proname <> 'prune_project_files' then
        execute format('grant execute on function %s to authenticated', api_function.signature);
      end if;
    elsif api_function.proname in ('is_direct_write', 'may_list', 'caller_id', 'readable_projects', 'writable_projects', 'projects_owned_by', 'parse_project_id',
        'flag_is_on') then
      -- Policies and the triggers' conditions call these with the caller's rights. They cannot be called by name: the schema has no USAGE grant.
      execute format('grant execute on function %s to authenticated, preview_agent, service_role', api_function.signature);
    end if;
  end loop;
end $$;
