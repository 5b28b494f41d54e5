-- How a transaction takes its revision. The order of locks, always: the project's queue, its row (so that its delete
-- waits, or we do), the user's token bucket, the project's counter; only then are content and version compared.

-- Stands in line for a project. A row lock alone would do, but many waiters of one row wake each other up and make lists of
-- lockers on the project's row; here one is woken at a time. Deleting a project does not stand in line: it waits for rows,
-- and nobody who holds one of them waits for the line.
create or replace function project_sync.enter_line(project uuid) returns void
language plpgsql as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('project_sync ' || project, 0));
  perform from public.projects p where p.id = project for key share;
  if not found then
    raise exception using errcode = 'PT404', message = 'no such project', detail = jsonb_build_object('project_id', project);
  end if;
end $$;

-- Locks the project's counter until the commit and says which revision this transaction's changes have.
create or replace function project_sync.hold_counter(project uuid, out revision bigint, out version_floor integer)
language plpgsql as $$
declare
  counter record;
begin
  -- A bulk comes here for each row: our own id on the row says that we hold it already.
  select c.revision, c.version_floor, c.taken_by, c.taken_at, c.xmax = pg_current_xact_id()::xid as is_held into counter
    from project_sync.counters c where c.project_id = project;
  if counter.is_held is not true then
    perform project_sync.enter_line(project);
    if counter.revision is null then insert into project_sync.counters (project_id) values (project) on conflict do nothing; end if;
    select c.revision, c.version_floor, c.taken_by, c.taken_at into counter
      from project_sync.counters c where c.project_id = project for no key update;
  end if;
  version_floor := counter.version_floor;
  revision := counter.revision;
  if counter.taken_by = pg_current_xact_id() and counter.taken_at = transaction_timestamp() then
    -- Only `set constraints … immediate` sends a transaction's event before its last change.
    if current_setting('project_sync.announced', true) = pg_current_xact_id()::text then
      raise exception using errcode = '55000', message = 'this transaction''s event was sent already: leave constraints deferred';
    end if;
  else
    revision := counter.revision + 1;
  end if;
end $$;

-- Writes the held revision down, and what the change did to the digest. Equal content never comes here, so it takes none.
create or replace function project_sync.take_revision(project uuid, taken bigint, delta bit(256)) returns void
language plpgsql as $$
begin
  update project_sync.counters c
    set revision = taken, digest = c.digest # delta, taken_by = pg_current_xact_id(), taken_at = transaction_timestamp()
    where c.project_id = project;
end $$;

-- Locks before comparing, in their order: what the functions begin with.
create or replace function project_sync.begin_write(project uuid, cost numeric default 1) returns void
language plpgsql as $$
begin
  perform project_sync.enter_line(project);
  perform project_sync.spend(project, cost);
  perform from project_sync.counters c where c.project_id = project for no key update;
  if not found then insert into project_sync.counters (project_id) values (project) on conflict do nothing; end if;
end $$;

-- The digest as it should be, from the rows themselves: for checks, never for answers.
create or replace function project_sync.recomputed_digest(project uuid) returns bit(256)
language sql stable as $$
  select coalesce(bit_xor(project_sync.file_digest(f.file_path, f.version, f.content_hash)), repeat('0', 256)::bit(256))
    from public.project_files f where f.project_id = project and f.is_current_version and not f.is_deleted
$$;

-- Takes `cost` tokens out of the caller's bucket for this project. A refusal rolls back, and so writes nothing.
create or replace function project_sync.spend(project uuid, cost numeric) returns void
language plpgsql as $$
declare
  claims jsonb := project_sync.claims();
  tokens_left numeric;
begin
  insert into project_sync.rate_limits as bucket (project_id, user_id, tokens, at)
    select project, coalesce(project_sync.person_of(claims), '00000000-0000-0000-0000-000000000000'),
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
