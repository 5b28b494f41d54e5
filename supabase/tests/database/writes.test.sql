-- The functions that write single files.
call tests.people_and_projects();
select plan(4);
select is(tests.row_of('owner', format('public.upsert_project_file(%L, ''src/App.tsx'', ''hello'', ''typescript'')', tests.project('one'))),
  'src/App.tsx|1|1|f|hello', 'the owner saves');
select is(tests.head('one'), 1::bigint, 'one revision');
select ok(tests.table_is_sound(), 'sound');
select ok(tests.events_are_dense('one'), 'one event');
select * from finish();
