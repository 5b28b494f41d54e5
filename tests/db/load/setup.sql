-- For the load tests: projects and writers by number, and tries that count what became of them instead of ending the run.
insert into public.user_profiles (id) select tests.person('writer ' || n) from generate_series(0, 63) n;
insert into public.projects (id, owner_id) select tests.project('load ' || n), tests.person('writer 0') from generate_series(0, 63) n;
insert into public.project_members (project_id, user_id, role)
  select tests.project('load ' || p), tests.person('writer ' || w), 'editor' from generate_series(0, 63) p, generate_series(0, 63) w;
update project_sync.settings set rate_per_second = 1000000, rate_burst = 1000000 where one_row;

create unlogged table tests.outcomes (outcome text not null);
-- One statement as the writer, the way PostgREST runs it. What the contract lets happen is an outcome; all else ends the run.
create function tests.try(writer integer, statement text) returns void language plpgsql as $$
declare
  result text := 'done';
begin
  begin
    perform set_config('request.jwt.claims', tests.claims('writer ' || writer)::text, true), set_config('role', 'authenticated', true);
    execute statement;
    perform set_config('role', 'none', true);
  exception when sqlstate 'PT409' or sqlstate 'PT404' or insufficient_privilege then
    result := sqlstate;
  end;
  insert into tests.outcomes values (result);
end $$;

-- Whether a whole listing is one state: its digest is that of its files, and no file is above its head.
create function tests.read_is_one_state(name text) returns void language plpgsql as $$
declare
  answer jsonb := tests.run_as('service', format('select public.list_project_changes(%L, 0, 10000, false)', tests.project(name)))::jsonb;
  digest text := (select project_sync.digest_hex(coalesce(bit_xor(project_sync.file_digest(f->>'file_path', (f->>'version')::integer, f->>'content_hash')), repeat('0', 256)::bit(256)))
    from jsonb_array_elements(answer->'files') f where not (f->>'is_deleted')::boolean);
begin
  if digest <> answer->>'digest' or exists (select from jsonb_array_elements(answer->'files') f where (f->>'revision')::bigint > (answer->>'head_revision')::bigint) then
    raise exception 'a listing of two states';
  end if;
  insert into tests.outcomes values ('one state');
end $$;

-- A project that is deleted and made again while others write to it.
create procedure tests.delete_and_make(n integer) language plpgsql as $$
begin
  delete from public.projects where id = tests.project('doomed ' || n);
  -- The id of a deleted project is retired.
  delete from project_sync.retired_projects where project_id = tests.project('doomed ' || n);
  insert into public.projects (id, owner_id) values (tests.project('doomed ' || n), tests.person('writer 0')) on conflict do nothing;
  insert into public.project_members (project_id, user_id, role)
    select p.id, tests.person('writer ' || w), 'editor' from public.projects p, generate_series(0, 31) w where p.id = tests.project('doomed ' || n) on conflict do nothing;
end $$;

-- Medians in milliseconds of a read, as the agent.
create function tests.median_ms(call text, times integer) returns numeric language plpgsql as $$
declare
  started timestamptz;
  took double precision[] := '{}';
begin
  perform set_config('request.jwt.claims', jsonb_build_object('role', 'preview_agent', 'project_id', tests.project('large'))::text, true), set_config('role', 'preview_agent', true);
  for i in 1..times loop
    started := clock_timestamp();
    execute call;
    took := took || extract(epoch from clock_timestamp() - started) * 1000;
  end loop;
  perform set_config('role', 'none', true);
  return round((select percentile_cont(0.5) within group (order by t) from unnest(took) t)::numeric, 2);
end $$;
