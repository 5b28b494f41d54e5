-- Projects and people. A database that has the tables keeps its own, with its own rules; one that has none gets small ones.

do $$
begin
  if to_regclass('public.user_profiles') is null then
    create table public.user_profiles (
      id uuid primary key,
      display_name text,
      created_at timestamptz not null default now()
    );
    comment on table public.user_profiles is 'project_sync: made here';
  end if;
  if to_regclass('public.projects') is null then
    create table public.projects (
      id uuid primary key default gen_random_uuid(),
      name text not null default '',
      -- Reads and writes the project, and says who else may.
      owner_id uuid references public.user_profiles(id) on delete cascade,
      created_at timestamptz not null default now()
    );
    create index projects_owner on public.projects (owner_id);
    comment on table public.projects is 'project_sync: made here';
  end if;
end $$;

-- Who else may: an editor writes, a collaborator reads.
create table if not exists public.project_members (
  project_id uuid not null references public.projects(id) on delete cascade,
  user_id uuid not null references public.user_profiles(id) on delete cascade,
  role text not null check (role in ('editor', 'collaborator')),
  created_at timestamptz not null default now(),
  primary key (project_id, user_id)
);
create index if not exists project_members_user on public.project_members (user_id);

-- An existing `projects` names its owner in one of several columns: found once, here, and held in one function.
do $$
declare
  owner_column text;
begin
  select a.attname into owner_column from pg_attribute a
    where a.attrelid = 'public.projects'::regclass and not a.attisdropped and a.atttypid = 'uuid'::regtype
      and a.attname in ('owner_id', 'user_id', 'created_by')
    order by array_position(array['owner_id', 'user_id', 'created_by'], a.attname::text) limit 1;
  if owner_column is null then
    raise exception 'public.projects has none of the columns owner_id, user_id, created_by: whose are the projects?';
  end if;
  execute format($f$
    create or replace function project_sync.project_owner(project uuid) returns uuid
    language plpgsql stable as
    'begin return (select p.%1$I from public.projects p where p.id = project); end'
  $f$, owner_column);
  execute format($f$
    create or replace function project_sync.projects_owned_by(person uuid) returns setof uuid
    language sql stable security definer set search_path = '' as
    'select p.id from public.projects p where p.%1$I = person'
  $f$, owner_column);
end $$;
