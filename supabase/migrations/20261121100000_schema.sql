-- The room of everything that is not called over the API: PostgREST serves `public`, and nobody but the owner has any
-- right in `project_sync`. Policies and triggers may still use its functions, since those are looked up when they are made.
-- What is called from outside (the API's functions, triggers, policies) is SECURITY DEFINER and pins its search_path; the
-- helpers run inside those, and so need neither: each costs some microseconds a call, and a save makes thirty.
create schema if not exists project_sync;
revoke all on schema project_sync from public;

-- What an operator may turn, one row. Changed with `update project_sync.settings set … where one_row`.
create table if not exists project_sync.settings (
  one_row boolean primary key default true check (one_row),
  -- Bytes of an event's JSON. The free plan takes 256 KB, measured on the server's own representation: leave headroom.
  event_max_bytes integer not null default 200000 check (event_max_bytes between 1000 and 2900000),
  -- Bytes of all contents in one event; above it the content is left out and fetched by who needs it.
  event_content_bytes integer not null default 150000 check (event_content_bytes >= 0),
  -- How long a save waits for the event's table before it goes on without the event.
  event_lock_timeout_ms integer not null default 200 check (event_lock_timeout_ms between 1 and 5000),
  -- A page of changes ends at the first revision boundary past this many bytes of content.
  page_bytes integer not null default 1048576 check (page_bytes >= 1024),
  -- Bytes of one file whose content lies in the table, or in storage.
  max_file_bytes integer not null default 52428800 check (max_file_bytes >= 1024),
  -- Token bucket per user and project. A bulk costs one token for each 200 entries, so the largest half of a full bucket.
  rate_per_second numeric not null default 20 check (rate_per_second > 0),
  rate_burst numeric not null default 100 check (rate_burst >= 50),
  -- Retention: what is older than the age goes, but for the newest versions of each file.
  keep_versions integer not null default 20 check (keep_versions >= 1),
  keep_versions_for interval not null default '90 days',
  keep_tombstones_for interval not null default '30 days'
);
insert into project_sync.settings (one_row) values (true) on conflict do nothing;

-- Why a path is refused, or null. The same rules as the agent's: it never writes what is refused here.
create or replace function project_sync.path_refusal(path text) returns text
language plpgsql immutable parallel safe as $$
declare
  part text;
  depth integer := 0;
begin
  -- Nearly every path is short and plain, and a save asks twice.
  if octet_length(path) <= 255 and path !~ '[\u0001-\u001f\u007f-\u009f\\]|(^|/)\.{0,2}(/|$)|(^|/)([Nn][Oo][Dd][Ee]_|\.[Gg][Ii][Tt]|\.[Pp])' then
    return null;
  end if;
  if path is null or path = '' then return 'the path is empty'; end if;
  if octet_length(path) > 4096 then return 'the path is longer than 4096 bytes'; end if;
  if path ~ '[\u0001-\u001f\u007f-\u009f]' then return 'the path holds a control character'; end if;
  if strpos(path, '\') > 0 then return 'the path holds a backslash'; end if;
  if left(path, 1) = '/' then return 'the path is absolute'; end if;
  foreach part in array string_to_array(path, '/') loop
    if part = '..' then return 'the path leaves the project'; end if;
    if part in ('', '.') then return 'the path has an empty or `.` part'; end if;
    if octet_length(part) > 255 then return 'a part of the path is longer than 255 bytes'; end if;
    -- Without regard to case (ASCII only): a case-insensitive disk would open the same directory.
    if lower(part collate "C") in ('node_modules', '.git') or (depth = 0 and lower(part collate "C") = '.preview') then
      return 'the path lies in a place that is never touched';
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

-- The bytes that a row's content stands for; null where text that should be base64 is none.
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

-- One live file's share of its project's digest (contract, section 5).
create or replace function project_sync.file_digest(file_path text, version integer, content_hash text) returns bit(256)
language plpgsql immutable parallel safe as $$
begin
  return ('x' || encode(sha256(
    convert_to(file_path, 'UTF8') || '\x00'::bytea || convert_to(version::text, 'UTF8') || '\x00'::bytea
      || convert_to(content_hash, 'UTF8')), 'hex'))::bit(256);
end $$;

-- bit_send puts a length of four bytes before the bits.
create or replace function project_sync.digest_hex(digest bit(256)) returns text
language sql immutable parallel safe as $$
  select encode(substring(bit_send(digest) from 5), 'hex')
$$;
