-- The write functions of the contract, section 5, for single files. Each checks the access right, takes the locks in order,
-- compares content and version, and writes. Every rejection comes before the first write.

select project_sync.drop_legacy_functions('upsert_project_file', 'delete_project_file', 'register_project_asset');

-- 0 means that the file must not exist. For a tombstone its own version is accepted too.
create or replace function project_sync.version_matches(expected integer, current_version integer, is_deleted boolean) returns boolean
language sql immutable as $$
  select expected is null or expected = coalesce(current_version, 0) or (expected = 0 and coalesce(is_deleted, true))
$$;

create or replace function project_sync.check_expected(expected integer) returns void
language plpgsql immutable as $$
begin
  if expected < 0 then raise exception using errcode = '22023', message = 'expected_version is below 0'; end if;
end $$;

create or replace function project_sync.check_version(path text, current_version integer, is_deleted boolean, expected integer) returns void
language plpgsql immutable as $$
begin
  if not project_sync.version_matches(expected, current_version, is_deleted) then
    raise exception using errcode = 'PT409', message = 'another version is current',
      detail = jsonb_build_object('file_path', path, 'expected_version', expected, 'current_version', coalesce(current_version, 0));
  end if;
end $$;

-- Writes the next version of one path and its revision. `file` is complete but for version, revision and author; `newest` is the
-- path's current row or null; the counter is locked and gives `revision` and `version_floor`.
create or replace function project_sync.write_version(file public.project_files, newest record, counter record) returns public.project_files
language plpgsql as $$
declare
  claims jsonb := project_sync.claims();
  delta bit(256) := project_sync.digest_contribution(newest.is_deleted, file.file_path, newest.version, newest.content_hash);
begin
  file.version := coalesce(newest.version, counter.version_floor) + 1;
  file.last_modified_by := case when claims->>'role' = 'authenticated' then project_sync.user_of(claims) end;
  file.created_by := coalesce(case when not newest.is_deleted then newest.created_by end, file.last_modified_by);
  if file.created_by is null then file.created_by := project_sync.project_owner(file.project_id); end if;
  perform set_config('project_sync.internal_write', 'on', true);
  if newest.id is not null then
    update public.project_files f set is_current_version = false, superseded_revision = counter.revision where f.id = newest.id;
  end if;
  insert into public.project_files (project_id, file_path, file_type, content, content_hash, size, encoding, is_deleted, version,
      revision, parent_version_id, created_by, last_modified_by)
    values (file.project_id, file.file_path, file.file_type, file.content, file.content_hash, file.size, file.encoding,
      file.is_deleted, file.version, counter.revision, newest.id, file.created_by, file.last_modified_by)
    returning * into file;
  perform set_config('project_sync.internal_write', '', true);
  update project_sync.counters c
    set revision = file.revision, taken_by = pg_current_xact_id(), taken_at = transaction_timestamp(),
      digest = c.digest # delta # project_sync.digest_contribution(file.is_deleted, file.file_path, file.version, file.content_hash)
    where c.project_id = file.project_id;
  return file;
end $$;

create or replace function project_sync.save(file public.project_files, expected integer) returns public.project_files
language plpgsql as $$
declare
  newest record;
  counter record;
  max_bytes integer;
begin
  perform project_sync.check_path(file.file_path);
  perform project_sync.check_file_type(file.file_type, file.file_path);
  perform project_sync.check_expected(expected);
  select l.revision, l.version_floor into counter from project_sync.begin_write(file.project_id, 1) l;
  select f.id, f.version, f.content_hash, f.is_deleted, f.file_type, f.created_by into newest
    from public.project_files f
    where f.file_path = file.file_path and f.project_id = file.project_id and f.is_current_version;
  -- Equal content is compared first: a save that is repeated after a lost response is not a conflict and creates no revision.
  if not newest.is_deleted and newest.content_hash = file.content_hash then
    if file.file_type <> newest.file_type then
      update public.project_files f set file_type = file.file_type where f.id = newest.id;
    end if;
    select f.* into file from public.project_files f where f.id = newest.id;
    return file;
  end if;
  perform project_sync.check_version(file.file_path, newest.version, newest.is_deleted, expected);
  select s.max_file_bytes into max_bytes from project_sync.settings s;
  if file.size > max_bytes then
    raise exception using errcode = '22023', message = format('the file is larger than %s bytes', max_bytes),
      detail = jsonb_build_object('file_path', file.file_path);
  end if;
  file.file_type := coalesce(file.file_type, newest.file_type, 'text');
  file.encoding := case when file.content is null then 'base64' else 'utf-8' end;
  file.is_deleted := false;
  return project_sync.write_version(file, newest, counter);
end $$;

create or replace function public.upsert_project_file(
  project_uuid uuid, p_file_path text, p_content text, p_file_type text default null, expected_version integer default null
) returns public.project_files
language plpgsql security definer set search_path = '' set lock_timeout = '2s' as $$
declare
  file public.project_files;
  bytes bytea;
begin
  perform project_sync.check_write(project_uuid);
  if p_content is null then
    raise exception using errcode = '22023', message = 'p_content is null; use delete_project_file to delete a file';
  end if;
  bytes := convert_to(p_content, 'UTF8');
  file.project_id := project_uuid;
  file.file_path := p_file_path;
  file.file_type := nullif(p_file_type, '');
  file.content := p_content;
  file.content_hash := encode(sha256(bytes), 'hex');
  file.size := octet_length(bytes);
  return project_sync.save(file, expected_version);
end $$;
comment on function public.upsert_project_file(uuid, text, text, text, integer) is
  'project_sync: saves one text file and returns its row; for equal content the current row';

create or replace function public.register_project_asset(
  project_uuid uuid, p_file_path text, p_file_type text, p_content_hash text, p_size bigint, expected_version integer default null
) returns public.project_files
language plpgsql security definer set search_path = '' set lock_timeout = '2s' as $$
declare
  file public.project_files;
begin
  perform project_sync.check_write(project_uuid);
  file.project_id := project_uuid;
  file.file_path := p_file_path;
  file.file_type := coalesce(nullif(p_file_type, ''), 'binary');
  file.content_hash := lower(p_content_hash);
  file.size := p_size;
  if coalesce(file.content_hash, '') !~ '^[0-9a-f]{64}$' or p_size is null or p_size < 0
      or not project_sync.object_exists(project_uuid, file.content_hash, p_size) then
    raise exception using errcode = '22023', message = 'no object with this sha256 and size in the bucket project-assets',
      detail = jsonb_build_object('file_path', left(p_file_path, 200), 'content_hash', p_content_hash, 'size', p_size);
  end if;
  return project_sync.save(file, expected_version);
end $$;
comment on function public.register_project_asset(uuid, text, text, text, bigint, integer) is
  'project_sync: saves one binary file whose content is already in storage';

create or replace function public.delete_project_file(
  project_uuid uuid, p_file_path text, expected_version integer default null
) returns public.project_files
language plpgsql security definer set search_path = '' set lock_timeout = '2s' as $$
declare
  newest record;
  counter record;
  file public.project_files;
begin
  perform project_sync.check_write(project_uuid);
  perform project_sync.check_expected(expected_version);
  select l.revision, l.version_floor into counter from project_sync.begin_write(project_uuid, 1) l;
  select f.id, f.version, f.content_hash, f.is_deleted, f.file_type, f.created_by into newest
    from public.project_files f
    where f.file_path = p_file_path and f.project_id = project_uuid and f.is_current_version;
  if newest.id is null then
    perform project_sync.check_path(p_file_path);
    raise exception using errcode = 'PT404', message = 'no such file', detail = jsonb_build_object('file_path', p_file_path);
  end if;
  if newest.is_deleted then
    select f.* into file from public.project_files f where f.id = newest.id;
    return file;
  end if;
  perform project_sync.check_version(p_file_path, newest.version, newest.is_deleted, expected_version);
  file.project_id := project_uuid;
  file.file_path := p_file_path;
  file.file_type := newest.file_type;
  file.size := 0;
  file.encoding := 'utf-8';
  file.is_deleted := true;
  return project_sync.write_version(file, newest, counter);
end $$;
comment on function public.delete_project_file(uuid, text, integer) is 'project_sync: deletes one file and returns its tombstone';

select project_sync.grant_functions();
