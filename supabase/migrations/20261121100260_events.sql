-- The event of a transaction: sent at commit on the project's private topic, with all changes of the revision. Delivery is
-- never guaranteed, so no failure here may abort a save.

-- The entry of one row in an event. Content is omitted if it is too large or in storage.
create or replace function project_sync.event_entry(file public.project_files, with_content boolean) returns jsonb
language plpgsql stable as $$
declare
  entry jsonb;
begin
  if file.is_deleted then
    return jsonb_build_object('action', 'delete', 'file_path', file.file_path, 'version', file.version);
  end if;
  entry := jsonb_build_object('action', 'update', 'file_path', file.file_path, 'version', file.version,
    'content_hash', file.content_hash, 'size', file.size, 'encoding', file.encoding, 'file_type', file.file_type);
  if with_content and file.content is not null then return entry || jsonb_build_object('content', file.content); end if;
  return entry || '{"content": null, "content_omitted": true}';
end $$;

-- The file list of a bulk event: contents are included from the smallest on while they fit. If the event is too large, all
-- contents are omitted; if the list itself is too large, the result is null.
create or replace function project_sync.event_files(project uuid, of_revision bigint) returns jsonb
language plpgsql stable as $$
declare
  limits project_sync.settings;
  files jsonb;
begin
  select * into limits from project_sync.settings;
  -- An entry has at least 60 bytes: do not build a list that cannot fit.
  if (select count(*) * 60 > limits.event_max_bytes from public.project_files f
      where f.project_id = project and f.revision = of_revision and f.is_current_version) then
    return null;
  end if;
  select jsonb_agg(project_sync.event_entry(f.file, f.bytes_so_far <= limits.event_content_bytes) order by (f.file).file_path)
    into files
    from (select f as file, sum(coalesce(f.size, 0)) over (order by f.size, f.file_path) as bytes_so_far
      from public.project_files f
      where f.project_id = project and f.revision = of_revision and f.is_current_version) f;
  if octet_length(files::text) <= limits.event_max_bytes then return files; end if;
  select jsonb_agg(project_sync.event_entry(f, false) order by f.file_path) into files from public.project_files f
    where f.project_id = project and f.revision = of_revision and f.is_current_version;
  return case when octet_length(files::text) <= limits.event_max_bytes then files end;
end $$;

-- Builds and sends the event of a revision.
-- A table may be locked or Realtime's schema missing: the save still commits, and agents find the change by reading the head.
-- The lock_timeout applies only inside this function.
create or replace function project_sync.send_revision_event() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' as $$
declare
  topic text := 'project:' || new.project_id;
  payload jsonb := jsonb_build_object('revision', new.revision, 'sender', project_sync.sender(),
    'timestamp', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));
  limits project_sync.settings;
  file public.project_files;
  entry jsonb;
  files jsonb;
  changed integer := 0;
begin
  perform set_config('project_sync.event_sent', pg_current_xact_id()::text, true);
  -- Without Realtime there is nothing to send to.
  if to_regnamespace('realtime') is null then return null; end if;
  select * into limits from project_sync.settings;
  perform set_config('lock_timeout', limits.event_lock_timeout_ms::text, true);
  if not project_sync.flag_is_on('FSYNC_SERVER_BROADCASTS', new.project_id) then return null; end if;
  for file in select f.* from public.project_files f
      where f.project_id = new.project_id and f.revision = new.revision and f.is_current_version limit 2 loop
    changed := changed + 1;
  end loop;
  -- The project may be deleted.
  if changed = 0 then return null; end if;
  if changed = 1 and current_setting('project_sync.bulk', true) is distinct from pg_current_xact_id()::text then
    entry := project_sync.event_entry(file, file.size <= limits.event_content_bytes);
    -- JSON encodes one byte with at most six bytes.
    if file.size > limits.event_max_bytes / 8 and octet_length(entry::text) > limits.event_max_bytes then entry := project_sync.event_entry(file, false); end if;
    perform realtime.send(payload || (entry - 'action'), case when file.is_deleted then 'file:delete' else 'file:update' end, topic, true);
  else
    select count(*) into changed from public.project_files f
      where f.project_id = new.project_id and f.revision = new.revision and f.is_current_version;
    files := project_sync.event_files(new.project_id, new.revision);
    payload := payload || jsonb_build_object('count', changed, 'files', coalesce(files, '[]'));
    if files is null then payload := payload || '{"files_omitted": true}'; end if;
    perform realtime.send(payload, 'bulk:apply', topic, true);
  end if;
  return null;
exception when others then
  raise warning 'the event of revision % on % was not sent: %', new.revision, topic, sqlerrm;
  return null;
end $$;
