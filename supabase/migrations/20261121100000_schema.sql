-- The schema for everything that is not called through the API. PostgREST exposes only `public`; only the owner has rights
-- in `project_sync`. Policies and triggers may still use its functions, because they are resolved when they are created.
-- Entry points (API functions, triggers, functions that policies call) are SECURITY DEFINER and pin their search_path.
-- Helpers run inside an entry point and need neither. On the path of a save every call counts: helpers of one expression are SQL
-- functions without SET, which PostgreSQL replaces by their expression; the others are plpgsql, called by an assignment or in a
-- condition, because PERFORM starts an executor for each call.
create schema if not exists project_sync;
revoke all on schema project_sync from public;

-- Settings for operators, in one row. Change them with `update project_sync.settings set … where one_row`.
create table if not exists project_sync.settings (
  one_row boolean primary key default true check (one_row),
  -- Largest event, in bytes of JSON. The free plan allows 256 KB, measured on Realtime's own encoding: leave headroom.
  event_max_bytes integer not null default 200000 check (event_max_bytes between 1000 and 2900000),
  -- Largest total of file contents in one event, in bytes. Content above this is omitted; agents fetch it.
  event_content_bytes integer not null default 150000 check (event_content_bytes >= 0),
  -- How long a save waits for a lock on realtime.messages before it continues without the event.
  event_lock_timeout_ms integer not null default 200 check (event_lock_timeout_ms between 1 and 5000),
  -- A page of changes ends at the first revision boundary after this many bytes of content.
  page_bytes integer not null default 1048576 check (page_bytes >= 1024),
  -- Largest file, in bytes of content, in the table or in storage.
  max_file_bytes integer not null default 52428800 check (max_file_bytes >= 1024),
  -- Token bucket for each user and project. A bulk costs one token for every 200 entries: the largest bulk costs 50.
  rate_per_second numeric not null default 20 check (rate_per_second > 0),
  rate_burst numeric not null default 100 check (rate_burst >= 50),
  -- Retention: versions older than the age are removed, except the newest ones of each file.
  keep_versions integer not null default 20 check (keep_versions >= 1),
  keep_versions_for interval not null default '90 days',
  keep_tombstones_for interval not null default '30 days'
);
insert into project_sync.settings (one_row) values (true) on conflict do nothing;

-- The reason why a path is rejected, or null. The rules are those of the agent (crates/sync-core).
create or replace function project_sync.path_refusal(path text) returns text
language plpgsql immutable parallel safe as $$
declare
  part text;
  depth integer := 0;
begin
  -- Fast path: almost every path is short and plain. 127 bytes have at most 64 parts. No regular expression: they are slow.
  if octet_length(path) <= 127 and btrim(path, 'etsrcoamnipl/.dxuhbfgkvyjqzw-_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789[]@+ ') = ''
      and strpos('/' || path || '/', '//') = 0 and strpos('/' || path, '/.') = 0
      and strpos(lower(path collate "C"), 'node_modules') = 0 then
    return null;
  end if;
  if path is null or path = '' then return 'the path is empty'; end if;
  if octet_length(path) > 1024 then return 'the path is longer than 1024 bytes'; end if;
  if path ~ '[\u0001-\u001f\u007f-\u009f]' then return 'the path holds a control character'; end if;
  if strpos(path, '\') > 0 then return 'the path holds a backslash'; end if;
  if left(path, 1) = '/' then return 'the path is absolute'; end if;
  if cardinality(string_to_array(path, '/')) > 64 then return 'the path has more than 64 parts'; end if;
  foreach part in array string_to_array(path, '/') loop
    if part = '..' then return 'the path leaves the project'; end if;
    if part in ('', '.') then return 'the path has an empty or `.` part'; end if;
    if octet_length(part) > 255 then return 'a part of the path is longer than 255 bytes'; end if;
    -- Ignore case (ASCII only): on a case-insensitive disk these names open the same directory.
    if lower(part collate "C") in ('node_modules', '.git') or (depth = 0 and lower(part collate "C") = '.preview') then
      return 'the path is in a reserved directory';
    end if;
    depth := depth + 1;
  end loop;
  return null;
end $$;

create or replace function project_sync.check_path(path text) returns void
language plpgsql immutable parallel safe as $$
declare
  refusal text := project_sync.path_refusal(path);
begin
  if refusal is not null then
    raise exception using errcode = '22023', message = format('invalid path: %s', refusal),
      detail = jsonb_build_object('file_path', left(path, 200));
  end if;
end $$;

-- A file type is free text, but bounded.
create or replace function project_sync.check_file_type(file_type text, path text) returns void
language plpgsql immutable parallel safe as $$
begin
  if octet_length(file_type) > 255 then
    raise exception using errcode = '22023', message = 'file_type is longer than 255 bytes',
      detail = jsonb_build_object('file_path', left(path, 200));
  end if;
end $$;

-- The bytes of a row's content; null if the content should be base64 and is malformed.
create or replace function project_sync.content_bytes(content text, encoding text) returns bytea
language plpgsql immutable parallel safe as $$
begin
  if encoding <> 'base64' then return convert_to(content, 'UTF8'); end if;
  begin
    return decode(content, 'base64');
  exception when invalid_parameter_value then
    return null;
  end;
end $$;

-- The digest of one live file; a project's digest is the XOR over its live files (contract, section 5).
create or replace function project_sync.file_digest(file_path text, version integer, content_hash text) returns bit(256)
language sql stable parallel safe as $$
  select ('x' || encode(sha256(
    convert_to(file_path, 'UTF8') || '\x00'::bytea || convert_to(version::text, 'UTF8') || '\x00'::bytea
      || convert_to(content_hash, 'UTF8')), 'hex'))::bit(256)
$$;

-- bit_send writes a length of four bytes before the bits.
create or replace function project_sync.digest_hex(digest bit(256)) returns text
language sql immutable parallel safe as $$
  select encode(substring(bit_send(digest) from 5), 'hex')
$$;
