-- Adoption gives the rows of a legacy `project_files` what the new columns need: hash and size of the content, consistent
-- versions, revisions, and a counter for each project. No row is lost. It runs in three steps:
--  1. project_sync.backfill(), optional, for large tables: in batches, each in its own transaction (README.md);
--  2. the next two migrations: all remaining rows, without a lock on the table, so that readers and writers continue;
--  3. the migration after them: under an exclusive lock, the rows that were written meanwhile.

-- The transactions that adopted rows. A row with another xmin was written by someone else since.
create table if not exists project_sync.adoptions (
  transaction_id text primary key
);

-- The projects with rows that are not adopted. None after the triggers are installed.
create or replace function project_sync.projects_to_adopt() returns uuid[]
language plpgsql stable set search_path = '' as $$
begin
  if exists (select from pg_catalog.pg_trigger t
      where t.tgrelid = 'public.project_files'::regclass and t.tgname = 'zz_project_sync_insert') then
    return '{}';
  end if;
  return array(select distinct f.project_id from public.project_files f
    where f.revision is null or not exists (select from project_sync.adoptions a where a.transaction_id = f.xmin::text));
end $$;

-- Files without a project: if `projects` was created by these migrations, create the projects that the files name.
create or replace function project_sync.adopt_projects() returns void
language plpgsql set search_path = '' as $$
declare
  orphans bigint;
begin
  select count(*) into orphans from public.project_files f
    where not exists (select from public.projects p where p.id = f.project_id);
  if orphans = 0 then return; end if;
  if pg_catalog.obj_description('public.projects'::regclass, 'pg_class') is distinct from 'project_sync: made here'
      or exists (select from public.project_files f where f.project_id is null) then
    raise exception '% rows of project_files belong to no project; set their project_id or delete them', orphans;
  end if;
  insert into public.user_profiles (id)
    select distinct f.created_by from public.project_files f where f.created_by is not null on conflict do nothing;
  insert into public.projects (id, owner_id)
    select f.project_id, mode() within group (order by f.created_by) from public.project_files f
    group by f.project_id on conflict do nothing;
end $$;

-- Adopts the rows of these projects in one pass and returns the number of changed rows. A second call changes nothing.
create or replace function project_sync.adopt_rows(of_projects uuid[]) returns bigint
language plpgsql set search_path = '' as $$
declare
  has_column jsonb := (select coalesce(jsonb_object_agg(a.attname, true), '{}') from pg_catalog.pg_attribute a
    where a.attrelid = 'public.project_files'::regclass and a.attnum > 0 and not a.attisdropped);
  -- Columns of legacy tables.
  legacy_path text := case when has_column ? 'path' then 'f.path' else 'null' end;
  legacy_type text := case when has_column ? 'type' then 'f.type' else 'null' end;
  legacy_size text := case when has_column ? 'size_bytes' then 'f.size_bytes' when has_column ? 'file_size' then 'f.file_size'
    else 'null' end;
  legacy_hash text := case when has_column ? 'checksum' then 'f.checksum' else 'null' end;
  -- Paths above 1,024 bytes are invalid, and an index entry of such a path may be too large.
  path text := format('case when octet_length(coalesce(f.file_path, %1$s)) > 1024 then ''too-long/'' || md5(coalesce(f.file_path, %1$s))
    else coalesce(f.file_path, %1$s, ''unnamed/'' || f.id) end', legacy_path);
  user_triggers text[] := array(select t.tgname from pg_catalog.pg_trigger t
    where t.tgrelid = 'public.project_files'::regclass and not t.tgisinternal and t.tgenabled = 'O');
  trigger_name text;
  triggers_disabled boolean := false;
  changed bigint;
  touched uuid[];
begin
  if of_projects = '{}' then return 0; end if;
  insert into project_sync.adoptions (transaction_id) values (pg_catalog.pg_current_xact_id()::xid::text) on conflict do nothing;
  -- A legacy trigger must not see this as a change of the files.
  if user_triggers <> '{}' then
    begin
      perform set_config('session_replication_role', 'replica', true);
    exception when insufficient_privilege then
      triggers_disabled := true;
      foreach trigger_name in array user_triggers loop
        execute format('alter table public.project_files disable trigger %I', trigger_name);
      end loop;
    end;
  end if;

  execute format($f$
    with unadopted as materialized (
      -- A path is adopted as a whole, but only if one of its rows is not adopted yet.
      select distinct f.project_id, %5$s as file_path from public.project_files f
        where f.project_id = any($1)
          and (f.revision is null or not exists (select from project_sync.adoptions a where a.transaction_id = f.xmin::text))
    ), hashed as materialized (
      -- Hashes are computed again from the content. Malformed base64 is text.
      select f.id, f.ctid as row_ctid, f.project_id, f.version, coalesce(f.is_current_version, false) as was_current,
        f.created_at, f.updated_at, f.revision, f.content is not null as has_content, u.file_path,
        case when octet_length(coalesce(f.file_type, %2$s)) > 255 then left(coalesce(f.file_type, %2$s), 60)
          else coalesce(f.file_type, %2$s, 'text') end as file_type,
        case when f.content is null or b.decoded is not null then 'base64' else 'utf-8' end as encoding,
        case when f.content is null then lower(coalesce(f.content_hash, %4$s))
          else encode(sha256(coalesce(b.decoded, convert_to(f.content, 'UTF8'))), 'hex') end as content_hash,
        case when f.content is null then coalesce(f.size, %3$s) else octet_length(coalesce(b.decoded, convert_to(f.content, 'UTF8'))) end as size
      from unadopted u join public.project_files f on f.project_id = u.project_id and %5$s = u.file_path
        left join lateral (select project_sync.content_bytes(f.content, 'base64') as decoded
          where f.content is not null and lower(f.encoding) = 'base64' offset 0) b on true
    ), described as (
      -- A row without content and without a sha256 is not a file: it is a directory or a tombstone of the legacy functions.
      select h.*, not h.has_content and coalesce(h.content_hash, '') !~ '^[0-9a-f]{64}$' as is_deleted,
        count(*) over path as rows_of_path, count(h.version) over path as versions_of_path,
        min(h.version) over path as lowest, greatest(max(h.version) over path, 0) as highest,
        max(h.version) filter (where h.was_current) over path as highest_current,
        row_number() over (partition by h.project_id, h.file_path, h.version) as duplicate,
        row_number() over (partition by h.project_id, h.file_path order by h.was_current,
          h.version nulls first, h.updated_at nulls first, h.created_at nulls first, h.id) as position,
        max(h.revision) over (partition by h.project_id) as known_revision
      from hashed h
      window path as (partition by h.project_id, h.file_path)
    ), checked as (
      -- Exactly one row of a path is current, and it has the highest version. The rows of other paths get new versions above
      -- all existing ones, the row that was current the highest.
      select d.*, d.versions_of_path < d.rows_of_path or d.lowest < 1 or d.highest_current is distinct from d.highest
        or max(d.duplicate) over (partition by d.project_id, d.file_path) > 1 as is_malformed
      from described d
    ), adopted as (
      select c.id, c.row_ctid, c.file_path, c.file_type, c.is_deleted, c.encoding, c.position = c.rows_of_path and c.is_malformed
          or c.version = c.highest and not c.is_malformed as is_current,
        case when c.is_malformed then c.highest + c.position else c.version end as version,
        case when not c.is_deleted then c.content_hash end as content_hash, case when c.is_deleted then 0 else c.size end as size,
        -- Adopted rows get revision 1. If there were revisions already (the migrations were removed and run again, or a row was
        -- written after the backfill), they get the next one, and readers with an older revision get a reset.
        greatest(coalesce(c.known_revision, 0), coalesce(counter.revision, 0)) + 1 as next_revision
      from checked c left join project_sync.counters counter on counter.project_id = c.project_id
    ), updated as (
      update public.project_files f set file_path = n.file_path, file_type = n.file_type, is_deleted = n.is_deleted,
        encoding = case when n.is_deleted then 'utf-8' else n.encoding end,
        version = n.version, content_hash = n.content_hash, size = n.size, is_current_version = n.is_current,
        created_by = coalesce(f.created_by, project_sync.project_owner(f.project_id)),
        revision = case when f.revision is null or (n.is_current and not f.is_current_version)
          or (f.file_path, f.version, f.content_hash, f.is_deleted) is distinct from (n.file_path, n.version, n.content_hash, n.is_deleted)
          then n.next_revision else f.revision end,
        superseded_revision = case when not n.is_current then coalesce(f.superseded_revision, n.next_revision) end
      from adopted n
      -- A row that was written meanwhile has another ctid: it is left to the next step.
      where f.id = n.id and f.ctid = n.row_ctid and (f.revision is null
        or (f.file_path, f.file_type, f.version, f.content_hash, f.size, f.is_deleted, f.is_current_version, f.superseded_revision is null)
          is distinct from (n.file_path, n.file_type, n.version, n.content_hash, n.size, n.is_deleted, n.is_current, n.is_current))
      returning f.project_id
    )
    select count(*), coalesce(array_agg(distinct project_id), '{}') from updated
  $f$, legacy_path, legacy_type, legacy_size, legacy_hash, path) using of_projects into changed, touched;

  insert into project_sync.counters as c (project_id, revision, tombstone_floor, digest)
    select f.project_id, max(greatest(f.revision, f.superseded_revision)) + case when f.project_id = any(touched) then 0 else 1 end,
      case when count(*) filter (where f.revision > 1 or f.superseded_revision > 1) > 0 or not f.project_id = any(touched)
        then max(greatest(f.revision, f.superseded_revision)) + case when f.project_id = any(touched) then 0 else 1 end else 0 end,
      coalesce(bit_xor(project_sync.file_digest(f.file_path, f.version, f.content_hash))
        filter (where f.is_current_version and not f.is_deleted), repeat('0', 256)::bit(256))
    from public.project_files f
    where f.project_id = any(touched) or f.project_id = any(of_projects)
      and not exists (select from project_sync.counters known where known.project_id = f.project_id)
    group by f.project_id
    on conflict (project_id) do update set revision = excluded.revision, tombstone_floor = excluded.tombstone_floor,
      digest = excluded.digest, taken_by = null, taken_at = null;

  perform set_config('session_replication_role', 'origin', true) where user_triggers <> '{}' and not triggers_disabled;
  if triggers_disabled then
    foreach trigger_name in array user_triggers loop
      execute format('alter table public.project_files enable trigger %I', trigger_name);
    end loop;
  end if;
  return changed;
end $$;

-- For large tables, before the migrations run: adopts project after project, with a commit after about `batch_rows` rows. It can
-- be stopped at any time; the next call continues.
create or replace procedure project_sync.backfill(batch_rows integer default 5000)
language plpgsql as $$
declare
  project record;
  batch uuid[] := '{}';
  rows_in_batch bigint := 0;
begin
  perform project_sync.adopt_projects();
  commit;
  for project in select f.project_id, count(*) as rows from public.project_files f
      where f.project_id = any(project_sync.projects_to_adopt()) group by f.project_id loop
    batch := batch || project.project_id;
    rows_in_batch := rows_in_batch + project.rows;
    if rows_in_batch >= batch_rows then
      perform project_sync.adopt_rows(batch);
      commit;
      batch := '{}';
      rows_in_batch := 0;
    end if;
  end loop;
  perform project_sync.adopt_rows(batch);
  commit;
end $$;
revoke all on procedure project_sync.backfill(integer) from public;
