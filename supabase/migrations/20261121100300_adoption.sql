-- Adopts a legacy `project_files` table. No row is lost, and a second run changes nothing. A row is adopted when it has a
-- revision. The definitions of replaced objects are kept here so that they can be restored.
create table if not exists project_sync.replaced (
  kind text not null check (kind in ('policy', 'function', 'constraint', 'index')),
  name text not null,
  definition text not null,
  replaced_at timestamptz not null default now(),
  primary key (kind, name)
);

-- Legacy functions have other signatures, which `create or replace` cannot change.
do $$
declare
  old record;
begin
  for old in
    select p.oid::regprocedure as signature, pg_get_functiondef(p.oid) as definition,
      coalesce((select string_agg(format(';grant execute on function %s to %s', p.oid::regprocedure,
          case a.grantee when 0 then 'public' else quote_ident(a.grantee::regrole::text) end), '' order by a.grantee)
        from aclexplode(p.proacl) a where a.grantee <> p.proowner and a.privilege_type = 'EXECUTE'), '') as grants
    from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.prokind = 'f'
      and p.proname in ('upsert_project_file', 'delete_project_file', 'list_current_files', 'bulk_upsert_project_files',
        'bulk_delete_project_files', 'is_feature_enabled', 'list_project_changes', 'project_head', 'get_project_file',
        'register_project_asset', 'prune_project_files')
      and coalesce(obj_description(p.oid, 'pg_proc'), '') not like 'project_sync:%'
  loop
    insert into project_sync.replaced (kind, name, definition)
      values ('function', old.signature::text, old.definition || old.grants) on conflict do nothing;
    execute format('drop function %s', old.signature);
  end loop;
end $$;

-- Legacy policies are removed: permissive policies are combined with OR, so an open one would stay effective.
do $$
declare
  old record;
begin
  for old in select * from pg_policies where schemaname = 'public' and tablename = 'project_files'
      and policyname not like 'project_sync: %'
  loop
    insert into project_sync.replaced (kind, name, definition) values ('policy', old.policyname,
      format('create policy %I on public.project_files as %s for %s to %s', old.policyname, old.permissive, old.cmd,
        (select string_agg(case role when 'public' then 'public' else quote_ident(role) end, ', ') from unnest(old.roles) role))
      || coalesce(format(' using (%s)', old.qual), '') || coalesce(format(' with check (%s)', old.with_check), ''))
      on conflict do nothing;
    execute format('drop policy %I on public.project_files', old.policyname);
  end loop;
end $$;

-- A legacy view would prevent changes of column types. The view is created again in the next migration.
do $$
begin
  if coalesce(obj_description(to_regclass('public.project_files_current'), 'pg_class'), '') not like 'project_sync:%' then
    drop view if exists public.project_files_current;
  end if;
end $$;

-- Remove unique constraints that allow only one row per path (there would be no history) and foreign keys that would
-- delete a project's files together with their author.
do $$
declare
  old record;
begin
  for old in
    select c.conname, c.contype, pg_get_constraintdef(c.oid) as definition from pg_constraint c
    where c.conrelid = 'public.project_files'::regclass and c.conname not like 'project_files_sync_%'
      and (c.contype, (select string_agg(a.attname, ' ' order by a.attname) from pg_attribute a
          where a.attrelid = c.conrelid and a.attnum = any(c.conkey)))
        in (('f', 'project_id'), ('f', 'parent_version_id'), ('f', 'created_by'), ('f', 'last_modified_by'),
          ('u', 'file_path project_id'), ('u', 'path project_id'), ('u', 'file_path project_id version'))
  loop
    insert into project_sync.replaced (kind, name, definition) values ('constraint', old.conname,
      format('alter table public.project_files add constraint %I %s', old.conname, old.definition)) on conflict do nothing;
    execute format('alter table public.project_files drop constraint %I', old.conname);
  end loop;
  for old in
    select i.indexrelid::regclass as index, c.relname, pg_get_indexdef(i.indexrelid) as definition
    from pg_index i join pg_class c on c.oid = i.indexrelid
    where i.indrelid = 'public.project_files'::regclass and i.indisunique and not i.indisprimary
      and c.relname not like 'project_files_sync_%'
      and not exists (select from pg_attribute a where a.attrelid = i.indrelid and a.attnum = any(i.indkey)
        and a.attname not in ('project_id', 'file_path', 'path', 'is_current_version'))
  loop
    insert into project_sync.replaced (kind, name, definition) values ('index', old.relname, old.definition) on conflict do nothing;
    execute format('drop index %s', old.index);
  end loop;
end $$;

alter table public.project_files alter column created_by drop not null;
do $$
declare
  short text;
begin
  for short in select a.attname from pg_attribute a where a.attrelid = 'public.project_files'::regclass
      and a.attname in ('file_path', 'file_type', 'content_hash', 'encoding') and a.atttypid <> 'text'::regtype
  loop
    execute format('alter table public.project_files alter column %I type text', short);
  end loop;
end $$;

-- The backfill. Triggers are disabled meanwhile, because no project's files change.
do $$
declare
  has_column jsonb := (select coalesce(jsonb_object_agg(a.attname, true), '{}') from pg_attribute a
    where a.attrelid = 'public.project_files'::regclass and a.attnum > 0 and not a.attisdropped);
  older_size text := case when has_column ? 'size_bytes' then 'f.size_bytes' when has_column ? 'file_size' then 'f.file_size'
    else 'null' end;
  older_hash text := case when has_column ? 'checksum' then 'f.checksum' else 'null' end;
  fresh_projects boolean := not exists (select from public.projects);
  -- Projects that have rows without a revision or no counter.
  adopted uuid[] := array(select distinct f.project_id from public.project_files f where f.revision is null
    or not exists (select from project_sync.counters c where c.project_id = f.project_id));
  orphans bigint;
begin
  if adopted = '{}' then return; end if;
  alter table public.project_files disable trigger user;

  -- Some legacy clients use the columns `path` and `type`.
  if has_column ? 'path' then
    update public.project_files f set file_path = f.path where f.revision is null and f.file_path is null;
  end if;
  if has_column ? 'type' then
    update public.project_files f set file_type = f.type where f.revision is null and f.file_type is null;
  end if;
  update public.project_files f set file_path = 'unnamed/' || f.id where f.revision is null and f.file_path is null;
  update public.project_files f set file_type = 'text' where f.revision is null and f.file_type is null;
  update public.project_files f set file_type = left(f.file_type, 60) where f.revision is null and octet_length(f.file_type) > 255;
  -- Paths above 1,024 bytes are invalid, and an index entry of such a path may be too large.
  update public.project_files f set file_path = 'too-long/' || md5(f.file_path) where f.revision is null and octet_length(f.file_path) > 1024;

  -- Files without a project: if `projects` is new, create the projects that the files name. Otherwise stop.
  select count(*) into orphans from public.project_files f
    where f.revision is null and not exists (select from public.projects p where p.id = f.project_id);
  if orphans > 0 and fresh_projects then
    insert into public.user_profiles (id)
      select distinct f.created_by from public.project_files f where f.created_by is not null on conflict do nothing;
    insert into public.projects (id, owner_id)
      select f.project_id, mode() within group (order by f.created_by) from public.project_files f
      where f.project_id is not null group by f.project_id on conflict do nothing;
  elsif orphans > 0 then
    raise exception '% rows of project_files belong to no project; set their project_id or delete them', orphans;
  end if;
  update public.project_files f set created_by = null where f.revision is null and f.created_by is not null
    and not exists (select from public.user_profiles u where u.id = f.created_by);
  update public.project_files f set last_modified_by = null where f.revision is null and f.last_modified_by is not null
    and not exists (select from public.user_profiles u where u.id = f.last_modified_by);
  update public.project_files f set created_by = u.id from public.user_profiles u
    where f.revision is null and f.created_by is null and u.id = project_sync.project_owner(f.project_id);
  update public.project_files f set parent_version_id = null where f.revision is null and f.parent_version_id is not null
    and not exists (select from public.project_files p where p.id = f.parent_version_id);

  -- Hashes are computed again from the bytes. A row without content and without a sha256 is not a file: it is a directory
  -- or a tombstone of the legacy functions.
  update public.project_files f
    set encoding = case when lower(f.encoding) = 'base64' and project_sync.content_bytes(f.content, 'base64') is not null
      then 'base64' else 'utf-8' end
    where f.revision is null and f.content is not null;
  update public.project_files f
    set content_hash = encode(sha256(project_sync.content_bytes(f.content, f.encoding)), 'hex'),
      size = octet_length(project_sync.content_bytes(f.content, f.encoding)), is_deleted = false
    where f.revision is null and f.content is not null;
  execute format($f$
    update public.project_files f set content_hash = lower(coalesce(f.content_hash, %1$s)), size = coalesce(f.size, %2$s),
      encoding = 'base64', is_deleted = coalesce(lower(coalesce(f.content_hash, %1$s)), '') !~ '^[0-9a-f]{64}$'
    where f.revision is null and f.content is null
  $f$, older_hash, older_size);
  update public.project_files f set content_hash = null, size = 0, encoding = 'utf-8' where f.revision is null and f.is_deleted;

  -- For each path exactly one row is current, and it has the highest version. Paths that violate this are renumbered, and
  -- the row that was current gets the highest version.
  with malformed as (
    select f.project_id, f.file_path from public.project_files f where f.project_id = any(adopted)
    group by f.project_id, f.file_path
    having count(f.version) < count(*) or min(f.version) < 1 or count(distinct f.version) < count(*)
      or max(f.version) filter (where f.is_current_version) is distinct from max(f.version)
  ), numbered as (
    select f.id, row_number() over (partition by f.project_id, f.file_path order by coalesce(f.is_current_version, false),
      f.version nulls first, f.updated_at nulls first, f.created_at nulls first, f.id) as version
    from public.project_files f join malformed using (project_id, file_path)
  )
  update public.project_files f set version = n.version from numbered n where f.id = n.id and f.version is distinct from n.version;
  update public.project_files f set is_current_version = (f.version = newest.version)
    from (select project_id, file_path, max(version) as version from public.project_files group by project_id, file_path) newest
    where f.project_id = any(adopted) and newest.project_id = f.project_id and newest.file_path = f.file_path
      and f.is_current_version is distinct from (f.version = newest.version);

  -- Adopted rows get revision 1. If there were revisions already (the migrations were removed and run again), they get the
  -- next revision, and readers with an older revision get a reset.
  insert into project_sync.counters (project_id, revision, tombstone_floor)
    select f.project_id, coalesce(max(f.revision), 0) + 1, case when max(f.revision) > 0 then max(f.revision) + 1 else 0 end
    from public.project_files f where f.project_id = any(adopted) group by f.project_id
    on conflict (project_id) do update set revision = greatest(project_sync.counters.revision + 1, excluded.revision),
      tombstone_floor = greatest(project_sync.counters.revision + 1, excluded.revision);
  update public.project_files f set revision = coalesce(f.revision, c.revision),
      superseded_revision = case when not f.is_current_version then coalesce(f.superseded_revision, c.revision) end
    from project_sync.counters c where c.project_id = f.project_id and f.project_id = any(adopted)
      and (f.revision is null or f.is_current_version <> (f.superseded_revision is null));
  update project_sync.counters c set digest = (select coalesce(
      bit_xor(project_sync.file_digest(f.file_path, f.version, f.content_hash)), repeat('0', 256)::bit(256))
      from public.project_files f where f.project_id = c.project_id and f.is_current_version and not f.is_deleted)
    where c.project_id = any(adopted);
  alter table public.project_files enable trigger user;
end $$;
