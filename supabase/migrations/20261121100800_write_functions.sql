-- The write functions of the contract, section 5, for single files. Each checks the access right, takes the locks in order,
-- compares content and version, and writes. Every rejection comes before the first write.

select project_sync.drop_legacy_functions('upsert_project_file', 'delete_project_file', 'register_project_asset');

-- 0 means that the file must not exist. For a tombstone its own version is accepted too.
create or replace function project_sync.version_matches(expected integer, current_version integer, is_deleted boolean) returns boolean
language sql immutable as $$
  select expected is null or expected = coalesce(current_version, 0) or (expected = 0 and coalesce(is_deleted, true))
$$;

create or replace function project_sync.raise_conflict(path text, expected integer, current_version integer) returns void
language plpgsql immutable as $$
begin
  raise exception using errcode = 'PT409', message = 'another version is current',
    detail = jsonb_build_object('file_path', path, 'expected_version', expected, 'current_version', coalesce(current_version, 0));
end $$;

-- Errors in the values of a write, found before any lock.
create or replace function project_sync.check_values(path text, file_type text, expected integer) returns void
language plpgsql immutable as $$
begin
  perform project_sync.check_path(path);
  perform project_sync.check_file_type(file_type, path);
  if expected < 0 then raise exception using errcode = '22023', message = 'expected_version is below 0'; end if;
end $$;

-- Writes the next version of one path and its revision: a tombstone if `hash` is null. `newest` is the path's current row or null;
-- the counter is locked.
create or replace function project_sync.write_version(person uuid, counter record, newest record, project uuid, path text, type text,
  body text, hash text, bytes bigint) returns public.project_files
language plpgsql as $$
-- Older tables have columns of these names, too.
#variable_conflict use_variable
declare
  author uuid := case when not newest.is_deleted then newest.created_by end;
  file public.project_files;
  marker text;
begin
  if author is null then author := coalesce(person, project_sync.project_owner(project)); end if;
  marker := set_config('project_sync.internal_write', 'on', true);
  if newest.id is not null then
    update public.project_files f set is_current_version = false, superseded_revision = counter.revision where f.id = newest.id;
  end if;
  insert into public.project_files (project_id, file_path, file_type, content, content_hash, size, encoding, is_deleted, version,
      revision, parent_version_id, created_by, last_modified_by)
    values (project, path, type, body, hash, bytes, case when hash is null or body is not null then 'utf-8' else 'base64' end,
      hash is null, coalesce(newest.version, counter.version_floor) + 1, counter.revision, newest.id, author, person)
    returning * into file;
  marker := set_config('project_sync.internal_write', '', true);
  update project_sync.counters c
    set revision = file.revision, taken_by = pg_current_xact_id(), taken_at = transaction_timestamp(),
      digest = c.digest # project_sync.digest_contribution(newest.is_deleted, path, newest.version, newest.content_hash)
        # project_sync.digest_contribution(file.is_deleted, path, file.version, hash)
    where c.project_id = project;
  return file;
end $$;

-- Saves content with this hash and size, in the table (`body`) or in storage.
create or replace function project_sync.save(project uuid, path text, type text, body text, hash text, bytes bigint, expected integer)
returns public.project_files
language plpgsql as $$
-- Older tables have columns of these names, too.
#variable_conflict use_variable
declare
  claims jsonb := project_sync.claims();
  person uuid := project_sync.person_of(claims);
  file public.project_files;
  newest record;
  counter record;
begin
  if project_sync.access_of(claims, person, project) is distinct from 'write' then perform project_sync.raise_no_right(project); end if;
  if project_sync.path_refusal(path) is not null or octet_length(type) > 255 or expected < 0 then
    perform project_sync.check_values(path, type, expected);
  end if;
  counter := project_sync.begin_change(project, person, 1);
  select f.id, f.version, f.content_hash, f.is_deleted, f.file_type, f.created_by into newest
    from public.project_files f
    where f.file_path = path and f.project_id = project and f.is_current_version;
  -- Equal content is compared first: a save that is repeated after a lost response is not a conflict and creates no revision.
  if not newest.is_deleted and newest.content_hash = hash then
    if type <> newest.file_type then
      update public.project_files f set file_type = type where f.id = newest.id;
    end if;
    select f.* into file from public.project_files f where f.id = newest.id;
    return file;
  end if;
  if not project_sync.version_matches(expected, newest.version, newest.is_deleted) then
    perform project_sync.raise_conflict(path, expected, newest.version);
  end if;
  if bytes > counter.max_file_bytes then
    raise exception using errcode = '22023', message = format('the file is larger than %s bytes', counter.max_file_bytes),
      detail = jsonb_build_object('file_path', path);
  end if;
  return project_sync.write_version(person, counter, newest, project, path, coalesce(type, newest.file_type, 'text'), body, hash, bytes);
end $$;

create or replace function public.upsert_project_file(
  project_uuid uuid, p_file_path text, p_content text, p_file_type text default null, expected_version integer default null
) returns public.project_files
language plpgsql security definer set search_path = '' set lock_timeout = '2s' as $$
declare
  bytes bytea := convert_to(p_content, 'UTF8');
begin
  if p_content is null then
    perform project_sync.check_write(project_uuid);
    raise exception using errcode = '22023', message = 'p_content is null; use delete_project_file to delete a file';
  end if;
  return project_sync.save(project_uuid, p_file_path, nullif(p_file_type, ''), p_content, encode(sha256(bytes), 'hex'),
    octet_length(bytes), expected_version);
end $$;
comment on function public.upsert_project_file(uuid, text, text, text, integer) is
  'project_sync: saves one text file and returns its row; for equal content the current row';

create or replace function public.register_project_asset(
  project_uuid uuid, p_file_path text, p_file_type text, p_content_hash text, p_size bigint, expected_version integer default null
) returns public.project_files
language plpgsql security definer set search_path = '' set lock_timeout = '2s' as $$
declare
  hash text := lower(p_content_hash);
begin
  perform project_sync.check_write(project_uuid);
  if coalesce(hash, '') !~ '^[0-9a-f]{64}$' or p_size is null or p_size < 0
      or not project_sync.object_exists(project_uuid, hash, p_size) then
    raise exception using errcode = '22023', message = 'no object with this sha256 and size in the bucket project-assets',
      detail = jsonb_build_object('file_path', left(p_file_path, 200), 'content_hash', p_content_hash, 'size', p_size);
  end if;
  return project_sync.save(project_uuid, p_file_path, coalesce(nullif(p_file_type, ''), 'binary'), null, hash, p_size, expected_version);
end $$;
comment on function public.register_project_asset(uuid, text, text, text, bigint, integer) is
  'project_sync: saves one binary file whose content is already in storage';

create or replace function public.delete_project_file(
  project_uuid uuid, p_file_path text, expected_version integer default null
) returns public.project_files
language plpgsql security definer set search_path = '' set lock_timeout = '2s' as $$
declare
  claims jsonb := project_sync.claims();
  person uuid := project_sync.person_of(claims);
  newest record;
  counter record;
  file public.project_files;
begin
  if project_sync.access_of(claims, person, project_uuid) is distinct from 'write' then perform project_sync.raise_no_right(project_uuid); end if;
  if expected_version < 0 then raise exception using errcode = '22023', message = 'expected_version is below 0'; end if;
  counter := project_sync.begin_change(project_uuid, person, 1);
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
  if not project_sync.version_matches(expected_version, newest.version, newest.is_deleted) then
    perform project_sync.raise_conflict(p_file_path, expected_version, newest.version);
  end if;
  return project_sync.write_version(person, counter, newest, project_uuid, p_file_path, newest.file_type, null, null, 0);
end $$;
comment on function public.delete_project_file(uuid, text, integer) is 'project_sync: deletes one file and returns its tombstone';

select project_sync.grant_functions();
