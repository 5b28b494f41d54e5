-- The ids of deleted projects. An id is never used for a second project: people and agents of the first one may still have
-- tokens, topics, links and objects with this id. To release an id (for example before restoring a project), delete its row.
create table if not exists project_sync.retired_projects (
  project_id uuid primary key,
  retired_at timestamptz not null default now()
);

-- Removes a deleted project's objects from storage, so that they are no longer served. Where storage keeps its bytes outside of
-- the database, they remain until they are removed there (README.md, "Deleting projects").
create or replace function project_sync.remove_objects(project uuid) returns void
language plpgsql as $$
begin
  if to_regclass('storage.objects') is null then return; end if;
  -- Storage rejects deletes from its table unless this is set.
  perform set_config('storage.allow_delete_query', 'true', true);
  -- A range of names, so that the index of bucket and name is used. '0' is the character after '/'.
  execute 'delete from storage.objects o where o.bucket_id in (''project-assets'', ''project-snapshots'')
    and o.name collate "C" >= $1 and o.name collate "C" < $2' using project || '/', project || '0';
  perform set_config('storage.allow_delete_query', '', true);
exception when others then
  raise warning 'cannot remove the objects of project %: %', project, sqlerrm;
end $$;

create or replace function project_sync.retire_project() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into project_sync.retired_projects (project_id) values (old.id) on conflict do nothing;
  perform project_sync.remove_objects(old.id);
  return null;
end $$;

-- The same error as for the id of an existing project, so that it does not tell which ids were used.
create or replace function project_sync.reject_retired_id() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if exists (select from project_sync.retired_projects r where r.project_id = new.id) then
    raise exception using errcode = '23505', message = 'a project with this id exists or existed; choose another id',
      detail = jsonb_build_object('project_id', new.id);
  end if;
  return null;
end $$;

-- After the insert: it waits for a concurrent delete of the same id, and only then that transaction's row is visible.
create or replace trigger project_sync_reject_retired_id after insert on public.projects
  for each row execute function project_sync.reject_retired_id();
create or replace trigger project_sync_reject_changed_id after update of id on public.projects
  for each row when (old.id <> new.id) execute function project_sync.reject_retired_id();
create or replace trigger project_sync_retire after delete on public.projects
  for each row execute function project_sync.retire_project();
create or replace trigger project_sync_retire_changed_id after update of id on public.projects
  for each row when (old.id <> new.id) execute function project_sync.retire_project();
