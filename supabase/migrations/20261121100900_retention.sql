-- Retention: removes old history. Called from time to time for each project, by the service or by pg_cron.

select project_sync.drop_legacy_functions('prune_project_files');

-- Removes old versions beyond those that are kept, and old tombstones with all their older versions. No file changes, so there
-- is no revision and no event. The floors rise first: a reader below the tombstone floor gets a reset, and no path restarts
-- at a version that it already had.
create or replace function project_sync.prune(project uuid) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  limits project_sync.settings;
  tombstones uuid[];
  versions bigint;
  rows_gone bigint;
  floor_revision bigint;
  floor_version integer;
begin
  select * into limits from project_sync.settings;
  perform project_sync.lock_counter(project);
  select array_agg(f.id), max(f.revision), max(f.version) into tombstones, floor_revision, floor_version
    from public.project_files f
    where f.project_id = project and f.is_current_version and f.is_deleted and f.updated_at < now() - limits.keep_tombstones_for;
  if tombstones is not null then
    update project_sync.counters c set tombstone_floor = greatest(c.tombstone_floor, floor_revision),
      version_floor = greatest(c.version_floor, floor_version) where c.project_id = project;
  end if;
  perform set_config('project_sync.pruning', pg_current_xact_id()::text, true);
  delete from public.project_files f using public.project_files t
    where t.id = any(tombstones) and f.project_id = project and f.file_path = t.file_path;
  get diagnostics rows_gone = row_count;
  delete from public.project_files f using (
      select o.id, row_number() over (partition by o.file_path order by o.version desc) as age, o.updated_at, o.is_current_version
      from public.project_files o where o.project_id = project) aged
    where f.id = aged.id and not aged.is_current_version and aged.age > limits.keep_versions
      and aged.updated_at < now() - limits.keep_versions_for;
  get diagnostics versions = row_count;
  perform set_config('project_sync.pruning', '', true);
  delete from project_sync.rate_limits r where r.project_id = project and r.at < now() - interval '1 day';
  return jsonb_build_object('tombstones', coalesce(cardinality(tombstones), 0),
    'versions', versions + rows_gone - coalesce(cardinality(tombstones), 0), 'tombstone_floor',
    (select c.tombstone_floor from project_sync.counters c where c.project_id = project));
end $$;

create or replace function public.prune_project_files(project_uuid uuid) returns jsonb
language plpgsql security definer set search_path = '' as $$
begin
  if project_sync.claims()->>'role' is distinct from 'service_role' then perform project_sync.raise_no_right(project_uuid); end if;
  perform project_sync.check_project(project_uuid);
  return project_sync.prune(project_uuid);
end $$;
comment on function public.prune_project_files(uuid) is 'project_sync: retention of one project''s history, for the service';

select project_sync.grant_functions();
