-- How a transaction gets its revision. Locks are always taken in this order: the project lock (advisory), the project's row
-- (against its deletion) together with its counter, the user's token bucket. Content and version are compared after that.

-- The project lock. A row lock would be enough, but many waiters of one row wake each other and create multixacts on the
-- project's row; an advisory lock wakes one waiter at a time. Deleting a project does not take the project lock: it waits for row
-- locks, and no transaction that has one of them waits for the project lock.
create or replace function project_sync.lock_key(project uuid) returns bigint
language sql immutable parallel safe as $$
  select hashtextextended('project_sync ' || project::text, 0)
$$;

-- Waits for the project lock, at most two seconds.
create or replace function project_sync.wait_for_project(project uuid) returns void
language plpgsql as $$
declare
  own_timeout text := current_setting('lock_timeout');
begin
  perform set_config('lock_timeout', '2s', true);
  perform pg_advisory_xact_lock(project_sync.lock_key(project));
  perform set_config('lock_timeout', own_timeout, true);
exception when lock_not_available then
  raise exception using errcode = '55P03', message = 'the project is locked by another write; try again',
    detail = jsonb_build_object('project_id', project, 'retry_after_ms', 500);
end $$;

create or replace function project_sync.raise_no_project(project uuid) returns void
language plpgsql as $$
begin
  raise exception using errcode = 'PT404', message = 'no such project', detail = jsonb_build_object('project_id', project);
end $$;

-- A project's first write: creates its counter.
create or replace function project_sync.create_counter(project uuid) returns void
language plpgsql as $$
begin
  perform from public.projects p where p.id = project for key share;
  if not found then perform project_sync.raise_no_project(project); end if;
  insert into project_sync.counters (project_id) values (project) on conflict do nothing;
end $$;

-- Takes the project lock, locks the project's row and its counter until the commit, and returns the revision of this
-- transaction's changes, with the settings that a write needs.
create or replace function project_sync.lock_revision(project uuid, out revision bigint, out version_floor integer,
  out max_file_bytes integer, out rate_per_second numeric, out rate_burst numeric)
language plpgsql as $$
declare
  taken_by xid8;
  taken_at timestamptz;
begin
  -- Does not overtake waiters: it fails while another transaction waits.
  if not pg_try_advisory_xact_lock(project_sync.lock_key(project)) then perform project_sync.wait_for_project(project); end if;
  loop
    select c.revision, c.version_floor, c.taken_by, c.taken_at, s.max_file_bytes, s.rate_per_second, s.rate_burst
      into revision, version_floor, taken_by, taken_at, max_file_bytes, rate_per_second, rate_burst
      from public.projects p join project_sync.counters c on c.project_id = p.id cross join project_sync.settings s
      where p.id = project for key share of p for no key update of c;
    exit when found;
    perform project_sync.create_counter(project);
  end loop;
  if taken_by = pg_current_xact_id() and taken_at = transaction_timestamp() then
    perform project_sync.check_event_is_pending();
  else
    revision := revision + 1;
  end if;
end $$;

-- For a second change of a transaction: its event must not have been sent, and has to count the changed rows.
create or replace function project_sync.check_event_is_pending() returns void
language plpgsql as $$
begin
  -- Only `set constraints … immediate` sends it before the commit.
  if current_setting('project_sync.event_sent', true) = pg_current_xact_id()::text then
    raise exception using errcode = '55000', message = 'the event of this transaction was already sent; do not set its constraints immediate';
  end if;
  perform set_config('project_sync.several_changes', pg_current_xact_id()::text, true);
end $$;

-- The same for the rows of a direct write, where it is called for each row: nothing is locked twice.
create or replace function project_sync.lock_revision_once(project uuid, out revision bigint, out version_floor integer)
language plpgsql as $$
declare
  counter record;
begin
  -- xmax is this transaction's id if it has the lock already.
  select c.revision, c.version_floor, c.taken_by, c.taken_at into counter
    from project_sync.counters c where c.project_id = project and c.xmax = pg_current_xact_id()::xid;
  if not found or counter.taken_by = pg_current_xact_id() and counter.taken_at = transaction_timestamp() then
    counter := project_sync.lock_revision(project);
    revision := counter.revision;
  else
    perform project_sync.check_event_is_pending();
    revision := counter.revision + 1;
  end if;
  version_floor := counter.version_floor;
end $$;

-- Stores the revision and the change of the digest. Not called for equal content, which creates no revision.
create or replace function project_sync.record_revision(project uuid, taken bigint, delta bit(256)) returns void
language plpgsql as $$
begin
  update project_sync.counters c
    set revision = taken, digest = c.digest # delta, taken_by = pg_current_xact_id(), taken_at = transaction_timestamp()
    where c.project_id = project;
end $$;

-- Takes `cost` tokens from a person's bucket for this project (from the service's if there is no person) and returns what is
-- left. The error rolls the transaction back, so nothing is written.
create or replace function project_sync.take_tokens(project uuid, person uuid, cost numeric, per_second numeric, burst numeric) returns numeric
language plpgsql as $$
declare
  tokens_left numeric;
begin
  insert into project_sync.rate_limits as bucket (project_id, user_id, tokens, at)
    values (project, coalesce(person, '00000000-0000-0000-0000-000000000000'), burst - cost, clock_timestamp())
    on conflict (project_id, user_id) do update
      set tokens = least(excluded.tokens, bucket.tokens - cost
          + greatest(0, extract(epoch from excluded.at - bucket.at)) * per_second),
        at = excluded.at
    returning tokens into tokens_left;
  if tokens_left < 0 then
    raise exception using errcode = 'PT429', message = 'too many writes to this project',
      detail = jsonb_build_object('retry_after_ms', ceil(-tokens_left / per_second * 1000)::bigint);
  end if;
  return tokens_left;
end $$;

-- Takes all locks in their order and `cost` tokens. Every write function starts with it, after the check of the right.
create or replace function project_sync.begin_change(project uuid, person uuid, cost numeric, out revision bigint, out version_floor integer,
  out max_file_bytes integer)
language plpgsql as $$
declare
  locked record := project_sync.lock_revision(project);
  tokens_left numeric := project_sync.take_tokens(project, person, cost, locked.rate_per_second, locked.rate_burst);
begin
  revision := locked.revision;
  version_floor := locked.version_floor;
  max_file_bytes := locked.max_file_bytes;
end $$;

-- The digest computed from the rows. For checks only.
create or replace function project_sync.recomputed_digest(project uuid) returns bit(256)
language sql stable as $$
  select coalesce(bit_xor(project_sync.file_digest(f.file_path, f.version, f.content_hash)), repeat('0', 256)::bit(256))
    from public.project_files f where f.project_id = project and f.is_current_version and not f.is_deleted
$$;
