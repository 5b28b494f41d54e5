-- Preview sessions: which person's machine shows which project, and whether it is still allowed.

-- How long one caller may take to start a machine before another caller may start it. Longer than any start takes.
alter table project_sync.settings add column if not exists session_lease_seconds integer not null default 120
  check (session_lease_seconds between 1 and 3600);

create table if not exists public.preview_sessions (
  id uuid primary key default gen_random_uuid(),
  project_id uuid not null references public.projects(id) on delete cascade,
  -- The person who opened it. The session ends when this person loses access to the project.
  owner_id uuid not null,
  -- An additional session of the same person and project.
  additional boolean not null default false,
  state text not null default 'starting' check (state in ('starting', 'running', 'ending', 'ended')),
  -- Why it ended: `asked`, `idle`, `no_right`, or the failure.
  reason text,
  provider text,
  machine_id text,
  preview_url text,
  created_at timestamptz not null default now(),
  -- Until then only the caller with this claim starts the machine. A call that is repeated with the same claim after a lost
  -- response gets the same result.
  lease_until timestamptz not null,
  claim uuid not null default gen_random_uuid(),
  used_at timestamptz not null default now(),
  renewed_at timestamptz,
  -- Set when the session ends, also while its machine is still being removed. Tokens are not renewed after that.
  ended_at timestamptz,
  check ((state in ('ending', 'ended')) = (ended_at is not null))
);
create unique index if not exists preview_sessions_one_each on public.preview_sessions (project_id, owner_id)
  where ended_at is null and not additional;
alter table public.preview_sessions add column if not exists claim uuid not null default gen_random_uuid();
create index if not exists preview_sessions_live on public.preview_sessions (state) where state <> 'ended';

alter table public.preview_sessions enable row level security;
revoke all on public.preview_sessions from public, anon, authenticated, preview_agent;
grant select on public.preview_sessions to authenticated;
grant select, insert, update, delete on public.preview_sessions to service_role;
drop policy if exists "project_sync: own sessions" on public.preview_sessions;
create policy "project_sync: own sessions" on public.preview_sessions for select to authenticated
  using (owner_id = (select project_sync.caller_id()) and project_id in (select project_sync.readable_projects()));

create or replace function project_sync.person_may_read(person uuid, project uuid) returns boolean
language plpgsql stable as $$
begin
  return project_sync.project_owner(project) = person
    or exists (select from public.project_members m where m.project_id = project and m.user_id = person);
end $$;

create or replace function project_sync.session_json(s public.preview_sessions) returns jsonb
language sql stable as $$
  select jsonb_build_object('session_id', s.id, 'project_id', s.project_id, 'state', s.state, 'reason', s.reason,
    'provider', s.provider, 'machine_id', s.machine_id, 'preview_url', s.preview_url, 'additional', s.additional,
    'created_at', s.created_at, 'ended_at', s.ended_at)
$$;

create or replace function project_sync.session_lease() returns interval
language sql stable as $$ select make_interval(secs => s.session_lease_seconds) from project_sync.settings s $$;

-- The caller's session of a project: the live one, or a new one. `go` is true for the caller that starts its machine and has
-- `lease_seconds` for it.
drop function if exists public.open_preview_session(uuid, boolean);
create or replace function public.open_preview_session(project_uuid uuid, another boolean default false, claim uuid default null)
returns jsonb language plpgsql security definer set search_path = '' as $$
declare
  person uuid := project_sync.caller_id();
  mine uuid := coalesce(open_preview_session.claim, gen_random_uuid());
  lease interval := project_sync.session_lease();
  session public.preview_sessions;
begin
  if person is null then perform project_sync.raise_no_right(project_uuid); end if;
  perform project_sync.check_read(project_uuid);
  if not project_sync.flag_is_on('FSYNC_SNAPSHOT_HYDRATION', person) then
    raise exception using errcode = 'PT403', message = 'previews are not enabled for this user',
      detail = jsonb_build_object('flag', 'FSYNC_SNAPSHOT_HYDRATION');
  end if;
  -- Serialize the calls of one person: two calls for one project create one session, and the limit counts all projects.
  perform pg_advisory_xact_lock(hashtextextended('preview sessions of ' || person, 0));
  select * into session from public.preview_sessions s
    where s.project_id = project_uuid and s.owner_id = person and s.ended_at is null
      and case when another then s.claim = mine else not s.additional end for update;
  if not found then
    if (select count(*) from public.preview_sessions s where s.owner_id = person and s.ended_at is null) >= 5 then
      raise exception using errcode = 'PT429', message = 'five sessions are running; end one first';
    end if;
    insert into public.preview_sessions (project_id, owner_id, additional, lease_until, claim)
      values (project_uuid, person, coalesce(another, false), now() + lease, mine) returning * into session;
  else
    update public.preview_sessions s set used_at = now() where s.id = session.id;
    if session.state = 'starting' and session.lease_until < now() then
      update public.preview_sessions s set lease_until = now() + lease, claim = mine where s.id = session.id
        returning * into session;
    end if;
  end if;
  return project_sync.session_json(session) || jsonb_build_object('go', session.state = 'starting' and session.claim = mine,
    'lease_seconds', greatest(0, floor(extract(epoch from session.lease_until - now()))));
end $$;
comment on function public.open_preview_session(uuid, boolean, uuid) is 'project_sync_sessions: the caller''s session of a project';

-- A session of the caller; reading it counts as use. PT404 for sessions of others.
create or replace function public.preview_session(session_uuid uuid) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  session public.preview_sessions;
begin
  update public.preview_sessions s set used_at = now()
    where s.id = session_uuid and s.owner_id = project_sync.caller_id() returning * into session;
  if not found or project_sync.access_to(session.project_id) is null then
    raise exception using errcode = 'PT404', message = 'no such session';
  end if;
  return project_sync.session_json(session);
end $$;
comment on function public.preview_session(uuid) is 'project_sync_sessions: a session of the caller';

-- Ends a session at once, also if its machine cannot be removed yet. Allowed for its owner, for writers of the project and
-- for the service. With a claim: only if the session still has this claim.
drop function if exists public.end_preview_session(uuid, text);
create or replace function public.end_preview_session(session_uuid uuid, why text default 'asked', claim uuid default null) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  session public.preview_sessions;
begin
  select * into session from public.preview_sessions s where s.id = session_uuid;
  if not found or (session.owner_id is distinct from project_sync.caller_id()
      and project_sync.access_to(session.project_id) is distinct from 'write') then
    raise exception using errcode = 'PT404', message = 'no such session';
  end if;
  select * into session from public.preview_sessions s where s.id = session_uuid for update;
  if session.ended_at is null and session.claim = coalesce(end_preview_session.claim, session.claim) then
    update public.preview_sessions s set state = 'ending', ended_at = now(), reason = left(why, 300)
      where s.id = session_uuid returning * into session;
  end if;
  return project_sync.session_json(session);
end $$;
comment on function public.end_preview_session(uuid, text, uuid) is 'project_sync_sessions: ends a session';

-- The functions below are for the service only.

-- Called before the dead machine of a running session is started again: `go` is true for one caller.
create or replace function public.restart_preview_session(session_uuid uuid, claim uuid) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  session public.preview_sessions;
begin
  update public.preview_sessions s
    set state = 'starting', lease_until = now() + project_sync.session_lease(), claim = restart_preview_session.claim
    where s.id = session_uuid and s.state = 'running';
  select * into session from public.preview_sessions s where s.id = session_uuid;
  if not found then raise exception using errcode = 'PT404', message = 'no such session'; end if;
  return project_sync.session_json(session) || jsonb_build_object(
    'go', session.state = 'starting' and session.claim = restart_preview_session.claim,
    'lease_seconds', greatest(0, floor(extract(epoch from session.lease_until - now()))));
end $$;
comment on function public.restart_preview_session(uuid, uuid) is 'project_sync_service: the session''s machine must be started again';

-- False if the session ended or its owner lost access while the machine started: the machine must be removed.
create or replace function public.preview_session_started(session_uuid uuid, p_provider text, p_machine_id text, p_preview_url text)
returns boolean language plpgsql security definer set search_path = '' as $$
begin
  update public.preview_sessions s set state = 'running', provider = p_provider, machine_id = p_machine_id,
      preview_url = p_preview_url, used_at = now()
    where s.id = session_uuid and s.ended_at is null
      and coalesce(project_sync.person_may_read(s.owner_id, s.project_id), false);
  return found;
end $$;
comment on function public.preview_session_started(uuid, text, text, text) is 'project_sync_service: the machine runs';

create or replace function public.preview_session_gone(session_uuid uuid) returns void
language sql security definer set search_path = '' as $$
  update public.preview_sessions s set state = 'ended' where s.id = session_uuid and s.state = 'ending'
$$;
comment on function public.preview_session_gone(uuid) is 'project_sync_service: the machine was removed';

-- `live`, `ended`, `no_right` (its owner lost access) or `unknown`.
create or replace function public.renew_preview_session(session_uuid uuid, project_uuid uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  session public.preview_sessions;
begin
  select * into session from public.preview_sessions s where s.id = session_uuid and s.project_id = project_uuid for update;
  if not found then return 'unknown'; end if;
  if session.ended_at is not null then return 'ended'; end if;
  if not coalesce(project_sync.person_may_read(session.owner_id, project_uuid), false) then return 'no_right'; end if;
  update public.preview_sessions s set renewed_at = now() where s.id = session_uuid;
  return 'live';
end $$;
comment on function public.renew_preview_session(uuid, uuid) is 'project_sync_service: whether a session may renew its token';

-- Ends unused sessions and sessions without access, and returns every session whose machine must be removed. A save counts as
-- use (time of the project's last revision).
create or replace function public.sweep_preview_sessions(idle_seconds integer) returns jsonb
language plpgsql security definer set search_path = '' as $$
begin
  update public.preview_sessions s set state = 'ending', ended_at = now(), reason = case
      when not coalesce(project_sync.person_may_read(s.owner_id, s.project_id), false) then 'no_right'
      when s.state = 'starting' then 'never started' else 'idle' end
    where s.ended_at is null and (
      not coalesce(project_sync.person_may_read(s.owner_id, s.project_id), false)
      or s.state = 'starting' and s.lease_until < now() - project_sync.session_lease()
      or s.state = 'running' and greatest(s.used_at, (select c.taken_at from project_sync.counters c
        where c.project_id = s.project_id)) < now() - make_interval(secs => idle_seconds));
  return (select coalesce(jsonb_agg(project_sync.session_json(s)), '[]') from public.preview_sessions s where s.state = 'ending');
end $$;
comment on function public.sweep_preview_sessions(integer) is 'project_sync_service: ends idle sessions';

-- The live ones of these sessions. A machine of any other session is an orphan.
create or replace function public.live_preview_sessions(session_uuids uuid[]) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(s.id), '[]') from public.preview_sessions s where s.id = any(session_uuids) and s.ended_at is null
$$;
comment on function public.live_preview_sessions(uuid[]) is 'project_sync_service: which of these sessions are live';

do $$
declare
  api_function record;
begin
  for api_function in select p.oid::regprocedure as signature, obj_description(p.oid, 'pg_proc') like 'project_sync_service:%' as for_service
    from pg_proc p where p.pronamespace = 'public'::regnamespace and p.proname in ('open_preview_session', 'preview_session',
      'end_preview_session', 'restart_preview_session', 'preview_session_started', 'preview_session_gone', 'renew_preview_session',
      'sweep_preview_sessions', 'live_preview_sessions')
  loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role, preview_agent', api_function.signature);
    execute format('grant execute on function %s to service_role', api_function.signature);
    if not api_function.for_service then execute format('grant execute on function %s to authenticated', api_function.signature); end if;
  end loop;
end $$;
revoke all on function project_sync.person_may_read(uuid, uuid), project_sync.session_json(public.preview_sessions),
  project_sync.session_lease() from public;
