-- Row-level security of the tables that the API exposes.
alter table public.project_members enable row level security;
revoke all on public.project_members from public, anon, authenticated;
grant select, insert, update, delete on public.project_members to authenticated, service_role;
drop policy if exists "project_sync: readers see members" on public.project_members;
create policy "project_sync: readers see members" on public.project_members for select to authenticated
  using (project_id in (select project_sync.readable_projects()));
drop policy if exists "project_sync: owner manages members, insert" on public.project_members;
create policy "project_sync: owner manages members, insert" on public.project_members for insert to authenticated
  with check (project_id in (select project_sync.projects_owned_by(project_sync.caller_id())));
drop policy if exists "project_sync: owner manages members, update" on public.project_members;
create policy "project_sync: owner manages members, update" on public.project_members for update to authenticated
  using (project_id in (select project_sync.projects_owned_by(project_sync.caller_id()))) with check (project_id in (select project_sync.projects_owned_by(project_sync.caller_id())));
drop policy if exists "project_sync: owner manages members, delete" on public.project_members;
create policy "project_sync: owner manages members, delete" on public.project_members for delete to authenticated
  using (project_id in (select project_sync.projects_owned_by(project_sync.caller_id())));

-- Existing `projects` and `user_profiles` keep their policies; tables created here get these. The policy reads owner_id of
-- the row itself, so that an insert can return the new row.
do $$
begin
  if obj_description('public.projects'::regclass, 'pg_class') = 'project_sync: made here' then
    alter table public.projects enable row level security;
    revoke all on public.projects from public, anon, authenticated;
    grant select, insert, update, delete on public.projects to authenticated, service_role;
    drop policy if exists "project_sync: own, insert" on public.projects;
    create policy "project_sync: own, insert" on public.projects for insert to authenticated
      with check (owner_id = (select project_sync.caller_id()));
    drop policy if exists "project_sync: own, update" on public.projects;
    create policy "project_sync: own, update" on public.projects for update to authenticated
      using (owner_id = (select project_sync.caller_id())) with check (owner_id = (select project_sync.caller_id()));
    drop policy if exists "project_sync: own, delete" on public.projects;
    create policy "project_sync: own, delete" on public.projects for delete to authenticated
      using (owner_id = (select project_sync.caller_id()));
    drop policy if exists "project_sync: read" on public.projects;
    create policy "project_sync: read" on public.projects for select to authenticated
      using (owner_id = (select project_sync.caller_id()) or id in (select project_sync.readable_projects()));
  end if;
  if obj_description('public.user_profiles'::regclass, 'pg_class') = 'project_sync: made here' then
    alter table public.user_profiles enable row level security;
    revoke all on public.user_profiles from public, anon, authenticated;
    grant select, insert, update on public.user_profiles to authenticated;
    grant select, insert, update, delete on public.user_profiles to service_role;
    drop policy if exists "project_sync: own, select" on public.user_profiles;
    create policy "project_sync: own, select" on public.user_profiles for select to authenticated
      using (id = (select project_sync.caller_id()));
    drop policy if exists "project_sync: own, insert" on public.user_profiles;
    create policy "project_sync: own, insert" on public.user_profiles for insert to authenticated
      with check (id = (select project_sync.caller_id()));
    drop policy if exists "project_sync: own, update" on public.user_profiles;
    create policy "project_sync: own, update" on public.user_profiles for update to authenticated
      using (id = (select project_sync.caller_id())) with check (id = (select project_sync.caller_id()));
  end if;
end $$;
