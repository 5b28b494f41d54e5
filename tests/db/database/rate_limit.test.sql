-- The token bucket of each user and project.
call tests.create_people_and_projects();
select no_plan();
update project_sync.settings set rate_per_second = 0.5, rate_burst = 50 where one_row;
create function tests.saves(who text, n integer, project text default 'one') returns text language plpgsql as $$
declare
  code text;
begin
  for i in 1..n loop
    code := tests.code(who, format('select public.upsert_project_file(%L, ''a.txt'', %L, ''text'')', tests.project(project), i::text));
    if code <> 'ok' then return code || ' at ' || i; end if;
  end loop;
  return 'ok';
end $$;
select is(tests.saves('owner', 50), 'ok', 'a burst');
select matches(tests.saves('owner', 5), '^PT429 at ', 'and no more');
select is(tests.saves('editor', 1), 'ok', 'another user has a bucket of their own');
select is(tests.saves('service', 1), 'ok', 'and the service');
update project_sync.rate_limits set tokens = 0, at = clock_timestamp() where user_id = tests.person('owner');
select tests.details('owner', format('select public.upsert_project_file(%L, ''a.txt'', ''x'', ''text'')', tests.project('one'))) as refusal \gset
select cmp_ok((:'refusal'::jsonb->>'retry_after_ms')::integer, '<=', 2000, 'it says when to come again');
select cmp_ok((:'refusal'::jsonb->>'retry_after_ms')::integer, '>=', 1000, 'not too early');
select is((select tokens from project_sync.rate_limits where user_id = tests.person('owner')), 0::numeric, 'a refusal writes nothing');
select is(tests.code('owner', format(call, tests.project('one'))), 'PT429', 'limited: ' || call) from unnest(array[
  'select public.delete_project_file(%L, ''a.txt'')', 'select public.bulk_upsert_project_files(%L, ''[{"file_path": "b", "content": "b"}]'')',
  'select public.bulk_delete_project_files(%L, ''{a.txt}'')']) call;
select is(tests.code('owner', format(call, tests.project('one'))), 'ok', 'not limited: ' || call) from unnest(array[
  'select public.project_head(%L)', 'select public.list_project_changes(%L, 0)']) call;
update project_sync.rate_limits set at = clock_timestamp() - interval '10 seconds' where user_id = tests.person('owner');
select is(tests.saves('owner', 4), 'ok', 'tokens come back with time');
update project_sync.rate_limits set at = clock_timestamp() - interval '1 year' where user_id = tests.person('owner');
select is(tests.saves('owner', 1), 'ok', 'as many as the bucket holds');
select cmp_ok((select tokens from project_sync.rate_limits where user_id = tests.person('owner')), '<=', 49::numeric, 'and no more');
update project_sync.rate_limits set tokens = 1, at = clock_timestamp() + interval '1 hour' where user_id = tests.person('owner');
select is(tests.saves('owner', 1), 'ok', 'a clock that went back takes nothing away');
insert into project_members values (tests.project('two'), tests.person('owner'), 'editor');
update project_sync.rate_limits set tokens = 0, at = clock_timestamp() where user_id = tests.person('owner');
select is(tests.saves('owner', 1, 'two'), 'ok', 'another project has a bucket of its own');
select throws_ok('update project_sync.settings set rate_per_second = 0 where one_row', '23514', null, 'a rate of 0 is no setting');
select * from finish();
