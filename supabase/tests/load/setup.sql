-- For the load tests: projects and writers by number, and saves that count what became of them instead of ending the run.
insert into public.user_profiles (id) select tests.person('writer ' || n) from generate_series(0, 63) n;
insert into public.projects (id, owner_id) select tests.project('load ' || n), tests.person('writer 0') from generate_series(0, 63) n;
insert into public.project_members (project_id, user_id, role)
  select tests.project('load ' || p), tests.person('writer ' || w), 'editor' from generate_series(0, 63) p, generate_series(0, 63) w;
update project_sync.settings set rate_per_second = 1000000, rate_burst = 1000000 where one_row;

create unlogged table tests.outcomes (outcome text not null, happened bigint not null);
-- One try: as the writer, in the way of PostgREST; the outcome is `saved` or a SQLSTATE.
create function tests.try(writer integer, statement text) returns void language plpgsql as $$
declare
  outcome text := 'saved';
begin
  begin
    perform set_config('request.jwt.claims', tests.claims('writer ' || writer)::text, true), set_config('role', 'authenticated', true);
    execute statement;
    perform set_config('role', 'none', true);
  exception when raise_exception or sqlstate 'PT409' or sqlstate 'PT404' then
    outcome := sqlstate;
  end;
  insert into tests.outcomes values (outcome, 1);
end $$;
