-- Projects and user profiles. Existing tables are kept with their own policies; missing tables are created.

do $$
begin
  if to_regclass('public.user_profiles') is null then
    create table public.user_profiles (
      id uuid primary key,
      display_name text check (octet_length(display_name) <= 1000),
      created_at timestamptz not null default now()
    );
    comment on table public.user_profiles is 'project_sync: made here';
  end if;
  if to_regclass('public.projects') is null then
    create table public.projects (
      id uuid primary key default gen_random_uuid(),
      name text not null default '' check (octet_length(name) <= 1000),
      -- May read and write the project and manages its members.
      owner_id uuid references public.user_profiles(id) on delete cascade,
      created_at timestamptz not null default now()
    );
    create index projects_owner on public.projects (owner_id);
    comment on table public.projects is 'project_sync: made here';
  end if;
end $$;

-- Other people with access: an editor may write, a collaborator may read.
create table if not exists public.project_members (
  project_id uuid not null references public.projects(id) on delete cascade,
  user_id uuid not null references public.user_profiles(id) on delete cascade,
  role text not null check (role in ('editor', 'collaborator')),
  created_at timestamptz not null default now(),
  primary key (project_id, user_id)
);
create index if not exists project_members_user on public.project_members (user_id);

-- An existing `projects` may name its owner in one of several columns. The column is chosen here, once.
do $$
declare
  owner_column text;
begin
  select a.attname into owner_column from pg_attribute a
    where a.attrelid = 'public.projects'::regclass and not a.attisdropped and a.atttypid = 'uuid'::regtype
      and a.attname in ('owner_id', 'user_id', 'created_by')
    order by array_position(array['owner_id', 'user_id', 'created_by'], a.attname::text) limit 1;
  if owner_column is null then
    raise exception 'public.projects has none of the columns owner_id, user_id, created_by; add one that names the owner';
  end if;
  execute format($f$
    create or replace function project_sync.project_owner(project uuid) returns uuid
    language plpgsql stable as
    'begin return (select p.%1$I from public.projects p where p.id = project); end'
  $f$, owner_column);
  execute format($f$
    create or replace function project_sync.access_of_person(project uuid, person uuid) returns text
    language plpgsql stable as $body$
    declare
      access text;
    begin
      select case when p.%1$I = person or m.role = 'editor' then 'write' when m.role is not null then 'read' end into access
        from public.projects p left join public.project_members m on m.project_id = p.id and m.user_id = person
        where p.id = project;
      return access;
    end $body$
  $f$, owner_column);
  execute format($f$
    create or replace function project_sync.projects_owned_by(person uuid) returns setof uuid
    language sql stable security definer set search_path = '' as
    'select p.id from public.projects p where p.%1$I = person'
  $f$, owner_column);
end $$;
