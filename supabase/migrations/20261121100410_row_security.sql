-- Row-level security of the tables that the API exposes.
alter table public.project_files enable row level security;
revoke all on public.project_files, public.project_files_current from public, anon, authenticated, preview_agent;
grant select, insert, update, delete on public.project_files to authenticated, service_role;
grant select on public.project_files_current to authenticated, service_role, preview_agent;
-- postgres_changes needs this grant and the policy; without the grant, a joined channel gets an error.
grant select on public.project_files to preview_agent;

drop policy if exists "project_sync: read" on public.project_files;
create policy "project_sync: read" on public.project_files for select to authenticated, preview_agent
  using (project_id in (select project_sync.readable_projects()));
-- Legacy clients write rows directly; the triggers enforce the rules for them.
drop policy if exists "project_sync: insert" on public.project_files;
create policy "project_sync: insert" on public.project_files for insert to authenticated
  with check (project_id in (select project_sync.writable_projects()));
drop policy if exists "project_sync: update" on public.project_files;
create policy "project_sync: update" on public.project_files for update to authenticated
  using (project_id in (select project_sync.writable_projects()))
  with check (project_id in (select project_sync.writable_projects()));
drop policy if exists "project_sync: delete" on public.project_files;
create policy "project_sync: delete" on public.project_files for delete to authenticated
  using (project_id in (select project_sync.writable_projects()));

alter table public.project_members enable row level security;
revoke all on public.project_members from public, anon, authenticated;
grant select, insert, update, delete on public.project_members to authenticated, service_role;
drop policy if exists "project_sync: readers see members" on public.project_members;
create policy "project_sync: readers see members" on public.project_members for select to authenticated
  using (project_id in (select project_sync.readable_projects()));
drop policy if exists "project_sync: owner manages members" on public.project_members;
create policy "project_sync: owner manages members" on public.project_members for all to authenticated
  using (project_id in (select project_sync.projects_owned_by(project_sync.caller_id())))
  with check (project_id in (select project_sync.projects_owned_by(project_sync.caller_id())));

-- Existing `projects` and `user_profiles` keep their policies; tables created here get these. The policy reads owner_id of
-- the row itself, so that an insert can return the new row.
do $$
begin
  if obj_description('public.projects'::regclass, 'pg_class') = 'project_sync: made here' then
    alter table public.projects enable row level security;
    revoke all on public.projects from public, anon, authenticated;
    grant select, insert, update, delete on public.projects to authenticated, service_role;
    drop policy if exists "project_sync: own" on public.projects;
    create policy "project_sync: own" on public.projects for all to authenticated
      using (owner_id = (select project_sync.caller_id())) with check (owner_id = (select project_sync.caller_id()));
    drop policy if exists "project_sync: read" on public.projects;
    create policy "project_sync: read" on public.projects for select to authenticated
      using (id in (select project_sync.readable_projects()));
  end if;
  if obj_description('public.user_profiles'::regclass, 'pg_class') = 'project_sync: made here' then
    alter table public.user_profiles enable row level security;
    revoke all on public.user_profiles from public, anon, authenticated;
    grant select, insert, update on public.user_profiles to authenticated;
    grant select, insert, update, delete on public.user_profiles to service_role;
    drop policy if exists "project_sync: own" on public.user_profiles;
    create policy "project_sync: own" on public.user_profiles for all to authenticated
      using (id = (select project_sync.caller_id())) with check (id = (select project_sync.caller_id()));
  end if;
end $$;
