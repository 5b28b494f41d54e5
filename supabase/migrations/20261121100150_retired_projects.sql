-- The ids of deleted projects. An id is never used for a second project: people and agents of the first one may still have
-- tokens, topics, links and objects with this id. To release an id (for example before restoring a project), delete its row.
create table if not exists project_sync.retired_projects (
  project_id uuid primary key,
  retired_at timestamptz not null default now()
);

-- Retires the ids of deleted projects and removes their objects from storage, so that they are no longer served. Where storage
-- keeps its bytes outside of the database, they remain until they are removed there (README.md, "Deleting projects").
create or replace function project_sync.retire_projects() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into project_sync.retired_projects (project_id) select d.id from deleted d on conflict do nothing;
  if to_regclass('storage.objects') is null then return null; end if;
  begin
    -- Storage rejects deletes from its table unless this is set.
    perform set_config('storage.allow_delete_query', 'true', true);
    -- A range of names for each project, so that the index of bucket and name is used. '0' is the character after '/'.
    delete from storage.objects o where o.id in (
      select found.id from deleted d, unnest(array['project-assets', 'project-snapshots']) bucket, lateral (
        select s.id from storage.objects s where s.bucket_id = bucket
          and s.name collate "C" >= d.id || '/' and s.name collate "C" < d.id || '0' offset 0) found);
    perform set_config('storage.allow_delete_query', '', true);
  exception when others then
    raise warning 'cannot remove the objects of deleted projects: %', sqlerrm;
  end;
  return null;
end $$;

create or replace function project_sync.retire_changed_id() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into project_sync.retired_projects (project_id) values (old.id) on conflict do nothing;
  return null;
end $$;

-- Deletes a project in batches of about `batch_rows` rows, for projects with more history than one statement can delete within the
-- API's timeout: old versions first, then the project. Call it again while `more` is true; the project stays usable meanwhile.
create or replace function project_sync.delete_project(project uuid, batch_rows integer default 10000) returns jsonb
language plpgsql as $$
declare
  removed bigint;
begin
  perform set_config('project_sync.internal_write', 'on', true);
  delete from public.project_files f where f.id in (
    select o.id from public.project_files o where o.project_id = project and not o.is_current_version limit batch_rows);
  get diagnostics removed = row_count;
  perform set_config('project_sync.internal_write', '', true);
  if removed < batch_rows then delete from public.projects p where p.id = project; end if;
  return jsonb_build_object('removed', removed, 'more', removed = batch_rows);
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
  referencing old table as deleted for each statement execute function project_sync.retire_projects();
create or replace trigger project_sync_retire_changed_id after update of id on public.projects
  for each row when (old.id <> new.id) execute function project_sync.retire_changed_id();
