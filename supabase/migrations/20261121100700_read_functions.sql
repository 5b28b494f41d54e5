-- The read functions of the contract, section 5. Each is STABLE: a VOLATILE function could return the head of one snapshot
-- with the rows of another.

select project_sync.drop_legacy_functions('list_current_files', 'list_project_changes', 'project_head', 'get_project_file');

-- One entry of a listing.
create or replace function project_sync.listing_entry(file public.project_files, with_content boolean) returns jsonb
language sql stable as $$
  select jsonb_build_object('file_path', (file).file_path, 'version', (file).version, 'revision', (file).revision,
    'content_hash', (file).content_hash, 'size', (file).size, 'encoding', (file).encoding,
    'content', case when with_content then (file).content end,
    'content_omitted', not (file).is_deleted and (not with_content or (file).content is null),
    'is_deleted', (file).is_deleted)
$$;

create or replace function public.project_head(project_uuid uuid) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  counter project_sync.counters;
begin
  perform project_sync.check_read(project_uuid);
  select * into counter from project_sync.counters c where c.project_id = project_uuid;
  return jsonb_build_object('head_revision', coalesce(counter.revision, 0),
    'digest', coalesce(project_sync.digest_hex(counter.digest), repeat('0', 64)));
end $$;
comment on function public.project_head(uuid) is 'project_sync: the newest revision and the digest of the live files';

-- A page ends at the first revision boundary after max_rows rows or page_bytes of content. Content is omitted only within a
-- single revision that is larger than page_bytes.
create or replace function public.list_project_changes(
  project_uuid uuid, since_revision bigint, max_rows integer default 500, with_content boolean default true
) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  counter project_sync.counters;
  since bigint := coalesce(since_revision, 0);
  rows_wanted integer := least(greatest(coalesce(max_rows, 500), 1), 10000);
  contents boolean := coalesce(with_content, true);
  page_bytes integer := (select s.page_bytes from project_sync.settings s);
  last_revision bigint;
  files jsonb;
  answer jsonb;
begin
  perform project_sync.check_read(project_uuid);
  if since < 0 then
    raise exception using errcode = '22023', message = 'since_revision is below 0';
  end if;
  select * into counter from project_sync.counters c where c.project_id = project_uuid;
  answer := jsonb_build_object('head_revision', coalesce(counter.revision, 0),
    'digest', coalesce(project_sync.digest_hex(counter.digest), repeat('0', 64)));

  if since > coalesce(counter.revision, 0) or (since > 0 and since < counter.tombstone_floor) then
    select jsonb_agg(project_sync.listing_entry(f, false) order by f.revision, f.file_path) into files
      from public.project_files f where f.project_id = project_uuid and f.is_current_version and not f.is_deleted;
    return answer || jsonb_build_object('complete', true, 'reset', true, 'files', coalesce(files, '[]'));
  end if;

  -- The page ends at the latest with the revision of row number max_rows.
  select f.revision into last_revision from public.project_files f
    where f.project_id = project_uuid and f.is_current_version and f.revision > since
    order by f.revision offset rows_wanted - 1 limit 1;
  if contents then
    select min(r.revision) into last_revision from (
      select sized.revision from (
        select f.revision, sum(sum(case when f.content is null then 0 else f.size end)) over (order by f.revision) as bytes_so_far
        from public.project_files f
        where f.project_id = project_uuid and f.is_current_version and f.revision > since
          and f.revision <= coalesce(last_revision, counter.revision)
        group by f.revision) sized
      where sized.bytes_so_far > page_bytes
      union all select last_revision) r;
  end if;
  select jsonb_agg(project_sync.listing_entry(p.file, contents and least(p.of_revision, p.so_far) <= page_bytes)
      order by (p.file).revision, (p.file).file_path) into files
    from (
      select f as file,
        coalesce(sum(f.size) filter (where f.content is not null) over (partition by f.revision), 0) as of_revision,
        coalesce(sum(f.size) filter (where f.content is not null) over (partition by f.revision order by f.file_path), 0) as so_far
      from public.project_files f
      where f.project_id = project_uuid and f.is_current_version and f.revision > since
        and f.revision <= coalesce(last_revision, counter.revision)) p;
  return answer || jsonb_build_object('files', coalesce(files, '[]'), 'complete',
    last_revision is null or not exists (select from public.project_files f
      where f.project_id = project_uuid and f.is_current_version and f.revision > last_revision));
end $$;
comment on function public.list_project_changes(uuid, bigint, integer, boolean) is
  'project_sync: every path whose newest row is above a revision, tombstones included, in revision order';

create or replace function public.get_project_file(project_uuid uuid, p_file_path text, p_version integer) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  answer jsonb;
begin
  perform project_sync.check_read(project_uuid);
  select jsonb_build_object('file_path', f.file_path, 'version', f.version, 'content', f.content, 'encoding', f.encoding,
      'content_hash', f.content_hash, 'size', f.size) into answer
    from public.project_files f
    where f.project_id = project_uuid and f.file_path = p_file_path and f.version = p_version and not f.is_deleted;
  if answer is null then
    raise exception using errcode = 'PT404', message = 'this version does not exist (any more)',
      detail = jsonb_build_object('file_path', left(p_file_path, 200), 'version', p_version);
  end if;
  return answer;
end $$;
comment on function public.get_project_file(uuid, text, integer) is 'project_sync: one version of one file, whatever its size';

-- The right to a legacy listing; its error is the same as that of the other functions.
create or replace function project_sync.may_list(project uuid) returns boolean
language plpgsql stable security definer set search_path = '' as $$
begin
  perform project_sync.check_read(project);
  return true;
end $$;
grant execute on function project_sync.may_list(uuid) to authenticated, preview_agent, service_role;

-- Not SECURITY DEFINER and without SET, so that PostgreSQL merges it into the caller's query: a page by `file_path=gt.…`, in
-- order and with a limit, reads only its own rows by the index of versions. Row security applies in addition to the check.
create or replace function public.list_current_files(project_uuid uuid)
returns table (file_path text, file_type text, content text, content_hash text, version integer, updated_at timestamptz)
language sql stable
begin atomic
  select f.file_path, f.file_type, f.content, f.content_hash, f.version, f.updated_at
    from public.project_files f
    where f.project_id = project_uuid and f.is_current_version and not f.is_deleted
      and (select project_sync.may_list(project_uuid))
    order by f.file_path;
end;
comment on function public.list_current_files(uuid) is 'project_sync: the legacy listing of live files';

select project_sync.grant_functions();
