-- Retention: removes old history. Called from time to time for each project, by the service or by pg_cron, until `more` is false.

select project_sync.drop_legacy_functions('prune_project_files');

-- Removes at most about `batch_rows` rows: old versions beyond those that are kept, and old tombstones with all their older
-- versions. No file changes, so there is no revision and no event. Versions are chosen and removed without the project lock;
-- it is taken only for tombstones, whose floors rise first: a reader below the tombstone floor gets a reset, and no path
-- restarts at a version that it already had.
create or replace function project_sync.prune(project uuid, batch_rows integer default 10000) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  limits project_sync.settings;
  victims uuid[];
  paths text[];
  versions bigint := 0;
  tombstones bigint := 0;
  removed bigint;
  more boolean;
  floor_revision bigint;
  floor_version integer;
begin
  select * into limits from project_sync.settings;
  victims := array(select o.id from public.project_files c cross join lateral (
      select v.id, v.updated_at from public.project_files v
        where v.project_id = project and v.file_path = c.file_path order by v.version desc offset limits.keep_versions) o
    where c.project_id = project and c.is_current_version and c.version > limits.keep_versions
      and o.updated_at < now() - limits.keep_versions_for limit batch_rows + 1);
  more := cardinality(victims) > batch_rows;
  perform set_config('project_sync.internal_write', 'on', true);
  delete from public.project_files f where f.id = any(victims[1:batch_rows]);
  get diagnostics versions = row_count;

  -- A tombstone has at most keep_versions rows below it by now, unless they are young.
  paths := array(select f.file_path from public.project_files f where not more and f.project_id = project and f.is_current_version
    and f.is_deleted and f.updated_at < now() - limits.keep_tombstones_for limit greatest(batch_rows / (limits.keep_versions + 1), 1) + 1);
  if cardinality(paths) > 0 then
    more := cardinality(paths) > greatest(batch_rows / (limits.keep_versions + 1), 1);
    perform project_sync.lock_revision(project);
    -- Under the lock a path may have a file again.
    select array_agg(f.file_path), max(f.revision), max(f.version), count(*) into paths, floor_revision, floor_version, tombstones
      from public.project_files f where f.project_id = project and f.file_path = any(paths[1:greatest(batch_rows / (limits.keep_versions + 1), 1)])
        and f.is_current_version and f.is_deleted and f.updated_at < now() - limits.keep_tombstones_for;
    update project_sync.counters c set tombstone_floor = greatest(c.tombstone_floor, floor_revision),
      version_floor = greatest(c.version_floor, floor_version) where c.project_id = project;
    delete from public.project_files f where f.project_id = project and f.file_path = any(paths);
    get diagnostics removed = row_count;
    versions := versions + removed - tombstones;
  end if;
  perform set_config('project_sync.internal_write', '', true);
  delete from project_sync.rate_limits r where r.project_id = project and r.at < now() - interval '1 day';
  return jsonb_build_object('tombstones', tombstones, 'versions', versions, 'more', more, 'tombstone_floor',
    coalesce((select c.tombstone_floor from project_sync.counters c where c.project_id = project), 0));
end $$;

create or replace function public.prune_project_files(project_uuid uuid) returns jsonb
language plpgsql security definer set search_path = '' as $$
begin
  if project_sync.claims()->>'role' is distinct from 'service_role' then perform project_sync.raise_no_right(project_uuid); end if;
  perform project_sync.check_project(project_uuid);
  return project_sync.prune(project_uuid);
end $$;
comment on function public.prune_project_files(uuid) is
  'project_sync: one batch of retention of one project''s history, for the service; call it until more is false';

select project_sync.grant_functions();
