-- Deleting a project with much history in batches.
call tests.create_people_and_projects();
select no_plan();
do $$ begin for i in 1..30 loop
  perform tests.run_as('owner', format('select public.upsert_project_file(%L, ''a'', %L, ''text'')', tests.project('one'), i::text)); commit; end loop; end $$;
select is(project_sync.delete_project(tests.project('one'), 20), '{"more": true, "removed": 20}', 'a batch of old versions');
select ok(tests.table_is_consistent() and (select content = '30' from project_files_current where project_id = tests.project('one')), 'the project is still there');
select is(project_sync.delete_project(tests.project('one'), 20), '{"more": false, "removed": 9}', 'the last batch');
select is((select count(*) from project_files) + (select count(*) from projects where id = tests.project('one')) + (select count(*) from project_sync.counters), 0::bigint, 'deletes the project');
select ok(exists (select from project_sync.retired_projects where project_id = tests.project('one')), 'and retires its id');
select * from finish();
