-- For the tests alone: people, projects, and acting as somebody the way PostgREST does it, role and claims for one transaction.
create schema tests;
create extension if not exists pgtap with schema public;

-- Whoever the tests speak of, with the claims of their tokens.
create function tests.person(who text) returns uuid language sql immutable as
  $$ select md5('person ' || who)::uuid $$;
create function tests.project(name text) returns uuid language sql immutable as
  $$ select md5('project ' || name)::uuid $$;
create function tests.claims(who text) returns jsonb language sql immutable as $$
  select case
    when who = 'anon' then '{"role": "anon"}'
    when who = 'service' then '{"role": "service_role"}'
    when who = 'agent' then jsonb_build_object('role', 'preview_agent', 'project_id', tests.project('one'), 'session_id', 's-1')
    when who = 'other agent' then jsonb_build_object('role', 'preview_agent', 'project_id', tests.project('two'), 'session_id', 's-2')
    when who = 'agent of nothing' then '{"role": "preview_agent"}'
    when who = 'nobody' then null
    when who = 'person without sub' then '{"role": "authenticated"}'
    when who = 'person with a bad sub' then '{"role": "authenticated", "sub": "''; drop table x"}'
    else jsonb_build_object('role', 'authenticated', 'sub', tests.person(who))
  end::jsonb
$$;

-- Runs one statement as somebody, in this transaction; its first value as text, or `SQLSTATE message`.
create function tests.as_role(role_name text, claims jsonb, statement text) returns text language plpgsql as $$
declare
  result text;
  code text;
  message text;
begin
  perform set_config('request.jwt.claims', coalesce(claims::text, ''), true);
  begin
    perform set_config('role', role_name, true);
    execute statement into result;
    perform set_config('role', 'none', true);
    return result;
  exception when others then
    get stacked diagnostics code = returned_sqlstate, message = message_text;
    return code || ' ' || message;
  end;
end $$;
create function tests.run_as(who text, statement text) returns text language sql as $$
  select tests.as_role(coalesce(tests.claims(who)->>'role', 'authenticated'), tests.claims(who), statement)
$$;
-- The SQLSTATE of a refusal, or `ok`.
create function tests.code(who text, statement text) returns text language sql as $$
  select case when result ~ '^[0-9A-Z]{5} ' then left(result, 5) else 'ok' end
    from (select tests.run_as(who, statement) as result) r
$$;
-- The details of a refusal.
create function tests.details(who text, statement text) returns jsonb language plpgsql as $$
declare
  detail text;
begin
  perform set_config('request.jwt.claims', coalesce(tests.claims(who)::text, ''), true);
  perform set_config('role', tests.claims(who)->>'role', true);
  execute statement;
  perform set_config('role', 'none', true);
  return null;
exception when others then
  get stacked diagnostics detail = pg_exception_detail;
  return detail::jsonb;
end $$;
-- A statement whose result is one row of project_files, as the parts that tests look at.
create function tests.row_of(who text, call text) returns text language sql as $$
  select tests.run_as(who, format('select concat_ws(''|'', f.file_path, f.version, f.revision, f.is_deleted, f.content) from %s f', call))
$$;
create function tests.head(name text) returns bigint language sql as
  $$ select coalesce((select revision from project_sync.counters where project_id = tests.project(name)), 0) $$;
create function tests.digest_matches() returns boolean language sql as $$
  select coalesce(bool_and(c.digest = project_sync.recomputed_digest(c.project_id)), true) from project_sync.counters c
$$;
-- What holds of every table at every moment: one current row a path, the highest; revisions within the head; one event each.
create function tests.table_is_consistent() returns boolean language sql as $$
  select tests.digest_matches()
    and not exists (select from public.project_files group by project_id, file_path
      having count(*) filter (where is_current_version) <> 1
        or max(version) filter (where is_current_version) <> max(version))
    and not exists (select from public.project_files f left join project_sync.counters c using (project_id)
      where f.revision > coalesce(c.revision, 0))
$$;
create function tests.events(name text) returns table (revision bigint, event text, payload jsonb) language sql as $$
  select (m.payload->>'revision')::bigint, m.event, m.payload from realtime.messages m
    where m.topic = 'project:' || tests.project(name) order by 1
$$;
create function tests.events_are_dense(name text) returns boolean language sql as $$
  select coalesce(array_agg(e.revision order by e.revision) = array(select generate_series(1, tests.head(name))), tests.head(name) = 0)
    from tests.events(name) e
$$;

-- Two projects: `one` with its people, `two` of somebody else.
create procedure tests.create_people_and_projects() language plpgsql as $$
begin
  insert into auth.users (id) select tests.person(who)
    from unnest(array['owner', 'editor', 'collaborator', 'stranger', 'other owner']) who on conflict do nothing;
  insert into public.user_profiles (id) select tests.person(who)
    from unnest(array['owner', 'editor', 'collaborator', 'stranger', 'other owner']) who on conflict do nothing;
  insert into public.projects (id, name, owner_id) values
    (tests.project('one'), 'one', tests.person('owner')), (tests.project('two'), 'two', tests.person('other owner'))
    on conflict do nothing;
  insert into public.project_members (project_id, user_id, role) values
    (tests.project('one'), tests.person('editor'), 'editor'),
    (tests.project('one'), tests.person('collaborator'), 'collaborator') on conflict do nothing;
end $$;
grant usage on schema tests to public;
