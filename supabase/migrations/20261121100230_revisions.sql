-- How a transaction gets its revision. Locks are always taken in this order: the project lock (advisory), the project's row
-- (against its deletion), the user's token bucket, the project's counter. Content and version are compared after that.

-- Waits for the project lock. A row lock would be enough, but many waiters of one row wake each other and create multixacts
-- on the project's row; an advisory lock wakes one waiter at a time. Deleting a project does not take the project lock: it
-- waits for row locks, and no transaction that has one of them waits for the project lock.
create or replace function project_sync.lock_project(project uuid) returns void
language plpgsql as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('project_sync ' || project, 0));
  perform from public.projects p where p.id = project for key share;
  if not found then
    raise exception using errcode = 'PT404', message = 'no such project', detail = jsonb_build_object('project_id', project);
  end if;
end $$;

-- Locks the project's counter until the commit and returns the revision of this transaction's changes.
create or replace function project_sync.lock_counter(project uuid, out revision bigint, out version_floor integer)
language plpgsql as $$
declare
  counter record;
begin
  -- Called for each row of a statement: xmax is this transaction's id if it has the lock already.
  select c.revision, c.version_floor, c.taken_by, c.taken_at, c.xmax = pg_current_xact_id()::xid as is_locked into counter
    from project_sync.counters c where c.project_id = project;
  if counter.is_locked is not true then
    perform project_sync.lock_project(project);
    if counter.revision is null then insert into project_sync.counters (project_id) values (project) on conflict do nothing; end if;
    select c.revision, c.version_floor, c.taken_by, c.taken_at into counter
      from project_sync.counters c where c.project_id = project for no key update;
  end if;
  version_floor := counter.version_floor;
  revision := counter.revision;
  if counter.taken_by = pg_current_xact_id() and counter.taken_at = transaction_timestamp() then
    -- The event was sent before the last change: only `set constraints … immediate` can cause that.
    if current_setting('project_sync.event_sent', true) = pg_current_xact_id()::text then
      raise exception using errcode = '55000', message = 'the event of this transaction was already sent; do not set its constraints immediate';
    end if;
  else
    revision := counter.revision + 1;
  end if;
end $$;

-- Stores the revision and the change of the digest. Not called for equal content, which creates no revision.
create or replace function project_sync.record_revision(project uuid, taken bigint, delta bit(256)) returns void
language plpgsql as $$
begin
  update project_sync.counters c
    set revision = taken, digest = c.digest # delta, taken_by = pg_current_xact_id(), taken_at = transaction_timestamp()
    where c.project_id = project;
end $$;

-- Takes all locks in their order. Every write function starts with it.
create or replace function project_sync.begin_write(project uuid, cost numeric default 1) returns void
language plpgsql as $$
begin
  perform project_sync.lock_project(project);
  perform project_sync.take_tokens(project, cost);
  perform from project_sync.counters c where c.project_id = project for no key update;
  if not found then insert into project_sync.counters (project_id) values (project) on conflict do nothing; end if;
end $$;

-- The digest computed from the rows. For checks only.
create or replace function project_sync.recomputed_digest(project uuid) returns bit(256)
language sql stable as $$
  select coalesce(bit_xor(project_sync.file_digest(f.file_path, f.version, f.content_hash)), repeat('0', 256)::bit(256))
    from public.project_files f where f.project_id = project and f.is_current_version and not f.is_deleted
$$;

-- Takes `cost` tokens from the caller's bucket for this project. The error rolls the transaction back, so nothing is written.
create or replace function project_sync.take_tokens(project uuid, cost numeric) returns void
language plpgsql as $$
declare
  claims jsonb := project_sync.claims();
  tokens_left numeric;
begin
  insert into project_sync.rate_limits as bucket (project_id, user_id, tokens, at)
    select project, coalesce(project_sync.user_of(claims), '00000000-0000-0000-0000-000000000000'),
      s.rate_burst - cost, clock_timestamp() from project_sync.settings s
    on conflict (project_id, user_id) do update
      set tokens = least(excluded.tokens, bucket.tokens - cost + greatest(0, extract(epoch from excluded.at - bucket.at))
          * (select s.rate_per_second from project_sync.settings s)),
        at = excluded.at
    returning tokens into tokens_left;
  if tokens_left < 0 then
    raise exception using errcode = 'PT429', message = 'too many writes to this project',
      detail = jsonb_build_object('retry_after_ms', ceil(-tokens_left
        / (select s.rate_per_second from project_sync.settings s) * 1000)::bigint);
  end if;
end $$;
