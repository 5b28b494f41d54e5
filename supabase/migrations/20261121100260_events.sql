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
    'content_hash', file.content_hash, 'size', file.size, 'encoding', file.encoding, 'file_type', file.file_type,
    'content', case when with_content then file.content end);
  if with_content and file.content is not null then return entry; end if;
  return entry || '{"content_omitted": true}';
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
-- The lock_timeout applies only inside this function; its value here is the default of the setting.
create or replace function project_sync.send_revision_event() returns trigger
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' as $$
declare
  topic text := 'project:' || new.project_id;
  this_transaction text := set_config('project_sync.event_sent', pg_current_xact_id()::text, true);
  claims jsonb := project_sync.claims();
  common jsonb;
  changed record;
  count_of_rows bigint := 1;
  entry jsonb;
  files jsonb;
begin
  -- Without Realtime there is nothing to send to.
  if to_regnamespace('realtime') is null then return null; end if;
  -- One of the changed rows, with the settings. No row: the flag is off, or the project is deleted.
  select f as file, s.event_max_bytes, s.event_content_bytes, s.event_lock_timeout_ms into changed
    from project_sync.settings s join public.feature_flags g on g.flag_key = 'FSYNC_SERVER_BROADCASTS'
        and project_sync.flag_covers(g.flag_key, g.is_enabled, g.rollout_percentage, g.target_user_ids, new.project_id)
      join public.project_files f on f.project_id = new.project_id and f.revision = new.revision and f.is_current_version
    limit 1;
  if not found then return null; end if;
  if changed.event_lock_timeout_ms <> 200 then perform set_config('lock_timeout', changed.event_lock_timeout_ms::text, true); end if;
  common := jsonb_build_object('revision', new.revision, 'sender', coalesce(claims->>'sub', claims->>'role', 'database'),
    'timestamp', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));
  if this_transaction in (current_setting('project_sync.bulk', true), current_setting('project_sync.several_changes', true)) then
    select count(*) into count_of_rows from public.project_files f
      where f.project_id = new.project_id and f.revision = new.revision and f.is_current_version;
  end if;
  if count_of_rows > 1 or current_setting('project_sync.bulk', true) = this_transaction then
    files := project_sync.event_files(new.project_id, new.revision);
    common := common || jsonb_build_object('count', count_of_rows, 'files', coalesce(files, '[]'));
    if files is null then common := common || '{"files_omitted": true}'; end if;
    perform realtime.send(common, 'bulk:apply', topic, true);
    return null;
  end if;
  entry := project_sync.event_entry(changed.file, (changed.file).size <= changed.event_content_bytes);
  -- JSON encodes one byte with at most six bytes.
  if (changed.file).size > changed.event_max_bytes / 8 and octet_length(entry::text) > changed.event_max_bytes then
    entry := project_sync.event_entry(changed.file, false);
  end if;
  perform realtime.send(common || (entry - 'action'), case when (changed.file).is_deleted then 'file:delete' else 'file:update' end, topic, true);
  return null;
exception when others then
  raise warning 'the event of revision % on % was not sent: %', new.revision, topic, sqlerrm;
  return null;
end $$;
