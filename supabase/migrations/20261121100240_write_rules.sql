-- One transaction that changes a project's files is one revision and one event, also for direct writes to the table. The
-- trigger functions here set version, revision, hash, size and is_current_version and ignore the statement's values. The
-- triggers themselves are created with the adoption (…_exchange.sql); their names sort last, so that they fire after all others.

-- Writes by these migrations' own functions set the marker `project_sync.internal_write` to `on` for the statement: they write
-- complete rows, and the triggers do not fire (their WHEN clauses). API callers cannot set it; check_direct_* removes it all the same.

-- The condition of the triggers. (PostgreSQL reads its text for every statement, and a function call is the shortest one.)
create or replace function project_sync.is_direct_write() returns boolean
language plpgsql stable as $$
begin
  return current_setting('project_sync.internal_write', true) is distinct from 'on';
end $$;

-- Retires a current row: a later version replaces it, with this revision.
create or replace function project_sync.retire(file_id uuid, by_revision bigint) returns void
language plpgsql as $$
begin
  perform set_config('project_sync.internal_write', 'on', true);
  update public.project_files f set is_current_version = false, superseded_revision = by_revision where f.id = file_id;
  perform set_config('project_sync.internal_write', '', true);
end $$;

-- What a row adds to its project's digest: zeros for a tombstone or a missing row.
create or replace function project_sync.digest_contribution(is_deleted boolean, file_path text, version integer, content_hash text)
returns bit(256) language sql stable parallel safe as $$
  select case when is_deleted is not false then repeat('0', 256)::bit(256)
    else project_sync.file_digest(file_path, version, content_hash) end
$$;

-- Whether a stored row is complete. A tombstone has no content. A live file has a hash; without content in the table, its content
-- is in storage. Not a constraint of the table, where it would cost every save a tenth of its time: the functions and triggers
-- write only such rows, the adoption checks the rows that it found (…_validation.sql), and the tests check what they have written.
create or replace function project_sync.row_is_valid(version integer, revision bigint, superseded_revision bigint, is_current_version boolean,
  is_deleted boolean, has_content boolean, content_hash text, size bigint, encoding text, file_type text) returns boolean
language plpgsql immutable parallel safe as $$
begin
  return version >= 1 and revision >= 1 and is_current_version = (superseded_revision is null) and coalesce(size >= 0, true)
    and encoding in ('utf-8', 'base64') and octet_length(file_type) <= 255
    and case when is_deleted then not has_content and content_hash is null
      else content_hash is not null and octet_length(content_hash) = 64 and btrim(content_hash, '0123456789abcdef') = ''
        and (not has_content or size is not null) end;
end $$;

-- Deletes a file: the tombstone is the next version of its path.
create or replace function project_sync.insert_tombstone(file public.project_files) returns void
language plpgsql as $$
begin
  insert into public.project_files (project_id, file_path, file_type, is_deleted)
    values (file.project_id, file.file_path, file.file_type, true);
end $$;

-- Whether storage has an object with this hash and size. True if there is no storage schema.
create or replace function project_sync.object_exists(project uuid, content_hash text, size bigint) returns boolean
language plpgsql stable as $$
declare
  found_object boolean := true;
begin
  if to_regclass('storage.objects') is not null then
    execute 'select exists (select from storage.objects o where o.bucket_id = ''project-assets'' and o.name = $1
      and coalesce((o.metadata->>''size'')::bigint, $2) = $2)' into found_object using project || '/' || content_hash, size;
  end if;
  return found_object;
end $$;

create or replace function project_sync.check_object(file public.project_files) returns void
language plpgsql stable as $$
begin
  if not file.is_deleted and file.content is null
      and not project_sync.object_exists(file.project_id, file.content_hash, file.size) then
    raise exception using errcode = '22023', message = 'no object with this sha256 and size in the bucket project-assets',
      detail = jsonb_build_object('file_path', left(file.file_path, 200), 'content_hash', file.content_hash, 'size', file.size);
  end if;
end $$;

-- The row with normalized values: hash and size are computed from the content.
create or replace function project_sync.normalized_row(file public.project_files) returns public.project_files
language plpgsql as $$
declare
  bytes bytea;
  max_bytes integer := (select s.max_file_bytes from project_sync.settings s);
begin
  file.file_type := coalesce(nullif(file.file_type, ''), 'text');
  perform project_sync.check_file_type(file.file_type, file.file_path);
  -- A row without content and without a hash is a tombstone: legacy functions write them like this.
  file.is_deleted := coalesce(file.is_deleted, false) or (file.content is null and file.content_hash is null);
  if file.is_deleted then
    file.content := null;
    file.content_hash := null;
    file.size := 0;
    file.encoding := 'utf-8';
    return file;
  end if;
  if file.content is null then
    file.content_hash := lower(file.content_hash);
    file.encoding := 'base64';
    if file.content_hash !~ '^[0-9a-f]{64}$' or file.size is null or file.size < 0 then
      raise exception using errcode = '22023', message = 'a stored object needs its sha256 and its size',
        detail = jsonb_build_object('file_path', file.file_path);
    end if;
  else
    file.encoding := case when lower(file.encoding) = 'base64' then 'base64' else 'utf-8' end;
    bytes := project_sync.content_bytes(file.content, file.encoding);
    if bytes is null then
      raise exception using errcode = '22023', message = 'the content is not valid base64',
        detail = jsonb_build_object('file_path', file.file_path);
    end if;
    file.content_hash := encode(sha256(bytes), 'hex');
    file.size := octet_length(bytes);
  end if;
  if file.size > max_bytes then
    raise exception using errcode = '22023', message = format('the file is larger than %s bytes', max_bytes),
      detail = jsonb_build_object('file_path', file.file_path);
  end if;
  return file;
end $$;

create or replace function project_sync.before_insert() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  counter record;
  newest record;
  claims jsonb := project_sync.claims();
  person uuid;
begin
  new := project_sync.normalized_row(new);
  -- A file that was adopted with an invalid path can still be deleted.
  if not new.is_deleted then perform project_sync.check_path(new.file_path); end if;
  perform project_sync.check_object(new);
  counter := project_sync.lock_revision_once(new.project_id);
  select f.id, f.version, f.is_current_version, f.is_deleted, f.created_by,
      exists (select from public.project_files taken where taken.id = new.id) as id_is_taken
    into newest from public.project_files f
    where f.project_id = new.project_id and f.file_path = new.file_path order by f.version desc limit 1;
  -- There is no live file to delete.
  if new.is_deleted and coalesce(newest.is_deleted, true) then return null; end if;
  person := case when claims->>'role' = 'authenticated' then project_sync.user_of(claims)
    else coalesce(new.last_modified_by, new.created_by) end;
  new.created_by := coalesce(case when not newest.is_deleted then newest.created_by end, person,
    project_sync.project_owner(new.project_id));
  new.last_modified_by := person;
  new.version := coalesce(newest.version, counter.version_floor) + 1;
  new.revision := counter.revision;
  new.parent_version_id := newest.id;
  new.is_current_version := true;
  new.superseded_revision := null;
  -- If the id exists, the insert ends in `on conflict` or in an error: do not retire the current row.
  if newest.is_current_version and not newest.id_is_taken then
    perform project_sync.retire(newest.id, counter.revision);
  end if;
  return new;
end $$;

create or replace function project_sync.after_insert() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  -- The parent is the row that this one replaces: remove its contribution too.
  perform project_sync.record_revision(total.project_id, total.revision, total.delta) from (
    select n.project_id, max(n.revision) as revision,
      bit_xor(project_sync.digest_contribution(n.is_deleted, n.file_path, n.version, n.content_hash)
        # project_sync.digest_contribution(p.is_deleted, p.file_path, p.version, p.content_hash)) as delta
    from inserted n left join public.project_files p on p.id = n.parent_version_id
    where n.is_current_version group by n.project_id) total;
  return null;
end $$;

create or replace function project_sync.before_update() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  counter record;
  newest record;
begin
  if new.id <> old.id or new.project_id <> old.project_id then
    raise exception using errcode = '0A000', message = 'id and project_id of a file cannot change';
  end if;
  if not old.is_current_version and new.is_current_version then
    -- Making an old version current inserts a new version with its content.
    insert into public.project_files (project_id, file_path, file_type, content, content_hash, size, encoding, is_deleted)
      values (old.project_id, old.file_path, old.file_type, old.content, old.content_hash, old.size, old.encoding, old.is_deleted);
    return null;
  end if;
  new.is_current_version := old.is_current_version;
  new.superseded_revision := old.superseded_revision;
  new.version := old.version;
  new.revision := old.revision;
  new.parent_version_id := old.parent_version_id;
  if not old.is_current_version then
    -- History rows do not change: clients without version support mean the current row.
    new.file_path := old.file_path;
    new.content := old.content;
    new.content_hash := old.content_hash;
    new.size := old.size;
    new.encoding := old.encoding;
    new.is_deleted := old.is_deleted;
    return new;
  end if;
  if old.is_deleted and new.content is not null then
    new.is_deleted := false;
  elsif new.content is null and old.content is not null and new.content_hash is not distinct from old.content_hash then
    new.is_deleted := true;
  end if;
  new := project_sync.normalized_row(new);
  if new.file_path = old.file_path and new.is_deleted = old.is_deleted and new.content_hash is not distinct from old.content_hash
      and (new.content is null) = (old.content is null) then
    return new;
  end if;
  if not new.is_deleted then perform project_sync.check_path(new.file_path); end if;
  perform project_sync.check_object(new);
  counter := project_sync.lock_revision_once(new.project_id);
  new.version := old.version + 1;
  if new.file_path <> old.file_path then
    select f.id, f.version, f.is_current_version, f.is_deleted into newest from public.project_files f
      where f.project_id = new.project_id and f.file_path = new.file_path order by f.version desc limit 1;
    if old.is_deleted or not coalesce(newest.is_deleted, true) then
      raise exception using errcode = '23505', message = 'cannot rename: the target path exists or the source is deleted',
        detail = jsonb_build_object('file_path', new.file_path);
    end if;
    if newest.is_current_version then
      perform project_sync.retire(newest.id, counter.revision);
    end if;
    new.version := coalesce(newest.version, counter.version_floor) + 1;
  end if;
  new.revision := counter.revision;
  new.parent_version_id := gen_random_uuid();
  new.updated_at := now();
  if project_sync.claims()->>'role' = 'authenticated' then
    new.last_modified_by := project_sync.caller_id();
  end if;
  return new;
end $$;

create or replace function project_sync.after_update() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  changed record;
  was public.project_files;
begin
  -- A row that is updated in place keeps its id, which legacy clients may store. The old values become a history row.
  for changed in select o as old_row, n.parent_version_id as history_id, n.revision, n.file_path <> o.file_path as is_renamed
      from after_rows n join before_rows o on o.id = n.id where n.version <> o.version or n.file_path <> o.file_path
  loop
    was := changed.old_row;
    was.id := changed.history_id;
    was.is_current_version := false;
    was.superseded_revision := changed.revision;
    perform set_config('project_sync.internal_write', 'on', true);
    insert into public.project_files select (was).*;
    perform set_config('project_sync.internal_write', '', true);
    if changed.is_renamed then perform project_sync.insert_tombstone(was); end if;
  end loop;
  -- For a renamed row, the tombstone of the old path removes the old contribution.
  perform project_sync.record_revision(total.project_id, total.revision, total.delta) from (
    select n.project_id, max(n.revision) as revision,
      bit_xor(project_sync.digest_contribution(n.is_deleted, n.file_path, n.version, n.content_hash)
        # project_sync.digest_contribution(o.is_deleted or o.file_path <> n.file_path, o.file_path, o.version, o.content_hash)) as delta
    from after_rows n join before_rows o on o.id = n.id
    where n.is_current_version and (n.version <> o.version or n.file_path <> o.file_path) group by n.project_id) total;
  return null;
end $$;

create or replace function project_sync.before_delete() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  -- Deleted together with its project.
  if not exists (select from public.projects p where p.id = old.project_id) then
    return old;
  end if;
  if old.is_current_version and not old.is_deleted then
    perform project_sync.insert_tombstone(old);
  end if;
  return null;
end $$;

create or replace function project_sync.before_truncate() returns trigger
language plpgsql set search_path = '' as $$
begin
  raise exception using errcode = '0A000', message = 'project_files is a log and cannot be truncated; delete files or projects';
end $$;
