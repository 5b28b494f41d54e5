-- Access rights: the owner and editors may write; collaborators and the project's agent may read; all others have no access.
-- Rights are read from the request's claims, because in a SECURITY DEFINER function current_user is the function's owner.

-- On a hosted project, grants on schemas of other owners only warn. So preview_agent inherits `anon`, which has the rights
-- that Realtime and storage need, and no more than the anon key that the container already has.
do $$
begin
  if not exists (select from pg_roles where rolname = 'preview_agent') then
    create role preview_agent nologin;
  end if;
end $$;
grant preview_agent to authenticator;
grant anon to preview_agent;
grant usage on schema public to anon, authenticated, service_role, preview_agent;

-- Only a table's owner may create policies on it. On a hosted project an extension allows it to `postgres`. Elsewhere this
-- sets the role to the owner until the role is reset or the transaction ends; a role without that right gets an error.
create or replace function project_sync.set_role_to_owner(of_table regclass) returns void
language plpgsql as $$
declare
  owner text := (select c.relowner::regrole::text from pg_class c where c.oid = of_table);
begin
  if not pg_has_role(owner, case when current_setting('server_version_num')::integer < 160000 then 'member' else 'set' end) then
    raise exception using errcode = '42501', message = format('only %s may make policies on %s', owner, of_table),
      hint = format('grant %s to %s for as long as the migrations run', owner, current_user);
  end if;
  -- The functions of a policy are resolved with the rights of the role that creates it.
  execute format('grant usage on schema project_sync to %s', owner);
  perform set_config('role', trim(both '"' from owner), true);
end $$;

create or replace function project_sync.claims() returns jsonb
language sql stable as $$
  select nullif(current_setting('request.jwt.claims', true), '')::jsonb
$$;

-- Whether a text is a UUID in lower case. (A regular expression for it costs as much as a small query.)
create or replace function project_sync.is_uuid(name text) returns boolean
language sql immutable as $$
  select name like '________-____-____-____-____________' and btrim(name, '0123456789abcdef-') = '' and replace(name, '-', '') like repeat('_', 32)
$$;

-- The user id in a token's claims; null if the claims have no valid one.
create or replace function project_sync.user_of(claims jsonb) returns uuid
language sql immutable as $$
  select case when project_sync.is_uuid(claims->>'sub') then (claims->>'sub')::uuid end
$$;

-- The person in a token's claims; null for the agent and the service.
create or replace function project_sync.person_of(claims jsonb) returns uuid
language sql immutable as $$
  select case when claims->>'role' = 'authenticated' then project_sync.user_of(claims) end
$$;

-- The signed-in user; null for the agent, whose token has no `sub`, and for the service.
create or replace function project_sync.caller_id() returns uuid
language plpgsql stable security definer set search_path = '' as $$
begin
  return project_sync.user_of(project_sync.claims());
end $$;

-- The service has access to every project, so a missing project is PT404 for it.
create or replace function project_sync.check_project(project uuid) returns void
language plpgsql stable as $$
begin
  if not exists (select from public.projects p where p.id = project) then
    raise exception using errcode = 'PT404', message = 'no such project', detail = jsonb_build_object('project_id', project);
  end if;
end $$;

-- The right that claims give to a project, of which `person` is the person: `write`, `read` or null (no access, or no such project).
create or replace function project_sync.access_of(claims jsonb, person uuid, project uuid) returns text
language plpgsql stable as $$
begin
  if person is not null then return project_sync.access_of_person(project, person); end if;
  if claims->>'role' = 'service_role' then
    perform project_sync.check_project(project);
    return 'write';
  end if;
  if claims->>'role' = 'preview_agent' then
    return (select 'read' from public.projects p where p.id = project and claims->>'project_id' = project::text);
  end if;
  return null;
end $$;

create or replace function project_sync.access_to(project uuid) returns text
language plpgsql stable as $$
declare
  claims jsonb := project_sync.claims();
begin
  return project_sync.access_of(claims, project_sync.person_of(claims), project);
end $$;

create or replace function project_sync.raise_no_right(project uuid) returns void
language plpgsql stable as $$
begin
  raise exception using errcode = '42501', message = 'no right to this project',
    detail = jsonb_build_object('project_id', project);
end $$;

create or replace function project_sync.check_read(project uuid) returns void
language plpgsql stable as $$
begin
  if project_sync.access_to(project) is null then perform project_sync.raise_no_right(project); end if;
end $$;

create or replace function project_sync.check_write(project uuid) returns void
language plpgsql stable as $$
begin
  if project_sync.access_to(project) is distinct from 'write' then perform project_sync.raise_no_right(project); end if;
end $$;

-- For policies: evaluated once per statement, not once per row.
create or replace function project_sync.readable_projects() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select p.id from public.projects p
    where project_sync.claims()->>'role' = 'preview_agent' and project_sync.claims()->>'project_id' = p.id::text
  union all
  select project_sync.projects_owned_by(project_sync.caller_id()) where project_sync.claims()->>'role' = 'authenticated'
  union all
  select m.project_id from public.project_members m
    where project_sync.claims()->>'role' = 'authenticated' and m.user_id = project_sync.caller_id()
$$;

create or replace function project_sync.writable_projects() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select project_sync.projects_owned_by(project_sync.caller_id()) where project_sync.claims()->>'role' = 'authenticated'
  union all
  select m.project_id from public.project_members m
    where project_sync.claims()->>'role' = 'authenticated' and m.user_id = project_sync.caller_id() and m.role = 'editor'
$$;

-- The project id in a text, or null if malformed. Callers choose the names of topics and objects.
create or replace function project_sync.parse_project_id(name text) returns uuid
language sql immutable security definer set search_path = '' as $$
  select case when project_sync.is_uuid(name) then name::uuid end
$$;
