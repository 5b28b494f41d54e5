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

create or replace function project_sync.check_version(newest public.project_files, path text, expected integer) returns void
language plpgsql immutable as $$
begin
  if expected is not null and not project_sync.version_matches(expected, newest.version, newest.is_deleted) then
    raise exception using errcode = 'PT409', message = 'another version is current',
      detail = jsonb_build_object('file_path', path, 'expected_version', expected,
        'current_version', coalesce(newest.version, 0));
  end if;
end $$;

create or replace function project_sync.save(project uuid, saved public.project_files, expected integer) returns public.project_files
language plpgsql as $$
declare
  newest public.project_files;
begin
  perform project_sync.check_path(saved.file_path);
  perform project_sync.check_file_type(saved.file_type, saved.file_path);
  perform project_sync.check_expected(expected);
  perform project_sync.begin_write(project);
  select f.* into newest from public.project_files f
    where f.project_id = project and f.file_path = saved.file_path order by f.version desc limit 1;
  -- Equal content is compared first: a save that is repeated after a lost response is not a conflict and creates no revision.
  if not newest.is_deleted and newest.content_hash = saved.content_hash then
    if saved.file_type <> newest.file_type then
      update public.project_files f set file_type = saved.file_type where f.id = newest.id returning * into newest;
    end if;
    return newest;
  end if;
  perform project_sync.check_version(newest, saved.file_path, expected);
  insert into public.project_files (project_id, file_path, file_type, content, content_hash, size)
    values (project, saved.file_path, coalesce(saved.file_type, newest.file_type, 'text'),
      saved.content, saved.content_hash, saved.size)
    returning * into newest;
  return newest;
end $$;

create or replace function public.upsert_project_file(
  project_uuid uuid, p_file_path text, p_content text, p_file_type text default null, expected_version integer default null
) returns public.project_files
language plpgsql security definer set search_path = '' as $$
declare
  saved public.project_files;
begin
  perform project_sync.check_write(project_uuid);
  if p_content is null then
    raise exception using errcode = '22023', message = 'p_content is null; use delete_project_file to delete a file';
  end if;
  saved.file_path := p_file_path;
  saved.file_type := nullif(p_file_type, '');
  saved.content := p_content;
  saved.content_hash := encode(sha256(convert_to(p_content, 'UTF8')), 'hex');
  return project_sync.save(project_uuid, saved, expected_version);
end $$;
comment on function public.upsert_project_file(uuid, text, text, text, integer) is
  'project_sync: saves one text file and returns its row; for equal content the current row';

create or replace function public.register_project_asset(
  project_uuid uuid, p_file_path text, p_file_type text, p_content_hash text, p_size bigint, expected_version integer default null
) returns public.project_files
language plpgsql security definer set search_path = '' as $$
declare
  saved public.project_files;
begin
  perform project_sync.check_write(project_uuid);
  saved.file_path := p_file_path;
  saved.file_type := coalesce(nullif(p_file_type, ''), 'binary');
  saved.content_hash := lower(p_content_hash);
  saved.size := p_size;
  if coalesce(saved.content_hash, '') !~ '^[0-9a-f]{64}$' or p_size is null or p_size < 0
      or not project_sync.object_exists(project_uuid, saved.content_hash, p_size) then
    raise exception using errcode = '22023', message = 'no object with this sha256 and size in the bucket project-assets',
      detail = jsonb_build_object('file_path', left(p_file_path, 200), 'content_hash', p_content_hash, 'size', p_size);
  end if;
  return project_sync.save(project_uuid, saved, expected_version);
end $$;
comment on function public.register_project_asset(uuid, text, text, text, bigint, integer) is
  'project_sync: saves one binary file whose content is already in storage';

create or replace function public.delete_project_file(
  project_uuid uuid, p_file_path text, expected_version integer default null
) returns public.project_files
language plpgsql security definer set search_path = '' as $$
declare
  newest public.project_files;
begin
  perform project_sync.check_write(project_uuid);
  perform project_sync.check_expected(expected_version);
  perform project_sync.begin_write(project_uuid);
  select f.* into newest from public.project_files f
    where f.project_id = project_uuid and f.file_path = p_file_path order by f.version desc limit 1;
  if newest.id is null then
    perform project_sync.check_path(p_file_path);
    raise exception using errcode = 'PT404', message = 'no such file', detail = jsonb_build_object('file_path', p_file_path);
  end if;
  if newest.is_deleted then return newest; end if;
  perform project_sync.check_version(newest, p_file_path, expected_version);
  insert into public.project_files (project_id, file_path, file_type, is_deleted)
    values (project_uuid, p_file_path, newest.file_type, true) returning * into newest;
  return newest;
end $$;
comment on function public.delete_project_file(uuid, text, integer) is 'project_sync: deletes one file and returns its tombstone';

select project_sync.grant_functions();
