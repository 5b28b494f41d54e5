-- Pruning: what goes, what stays, and that no version comes back.
call tests.create_people_and_projects();
select no_plan();
update project_sync.settings set keep_versions = 2, rate_burst = 1000, keep_versions_for = '1 hour', keep_tombstones_for = '1 hour' where one_row;
create procedure tests.put(path text, body text) language plpgsql as $$
begin
  perform tests.run_as('owner', format('select public.upsert_project_file(%L, %L, %L, ''text'')', tests.project('one'), path, body));
end $$;
create procedure tests.drop(path text) language plpgsql as $$
begin
  perform tests.run_as('owner', format('select public.delete_project_file(%L, %L)', tests.project('one'), path));
end $$;
create procedure tests.age() language plpgsql as $$
begin
  alter table project_files disable trigger user;
  update project_files set updated_at = updated_at - interval '2 hours';
  alter table project_files enable trigger user;
end $$;
create function tests.prune() returns jsonb language sql as $$ select tests.run_as('service', format('select public.prune_project_files(%L)', tests.project('one')))::jsonb $$;
call tests.put('a', '1'); call tests.put('a', '2'); call tests.put('a', '3'); call tests.put('a', '4');  -- revisions 1 to 4
call tests.put('b', '1'); call tests.put('b', '2'); call tests.put('b', '3'); call tests.drop('b');      -- 5 to 8
call tests.put('c', '1'); call tests.drop('c'); call tests.put('c', '3');                                -- 9 to 11
select is(tests.prune(), '{"more": false, "tombstones": 0, "versions": 0, "tombstone_floor": 0}', 'all of it is young');
call tests.age();
call tests.put('d', '1'); call tests.drop('d');                                                          -- 12, 13
select is(tests.prune(), '{"more": false, "tombstones": 1, "versions": 6, "tombstone_floor": 8}', 'what is old goes');
select is((select string_agg(file_path || version, ' ' order by file_path, version) from project_files), 'a3 a4 c2 c3 d1 d2', 'the newest versions of each file stay');
select is(tests.head('one'), 13::bigint, 'no file changed: no revision');
select ok(tests.events_are_dense('one'), 'and no event');
select ok(tests.table_is_consistent(), 'the digest holds');
select is(tests.prune(), '{"more": false, "tombstones": 0, "versions": 0, "tombstone_floor": 8}', 'a second run finds nothing');
select is(tests.code('owner', format('select public.delete_project_file(%L, ''b'')', tests.project('one'))), 'PT404', 'forgotten');
call tests.put('b', 'again');
select is((select version from project_files where file_path = 'b'), 5, 'but it never has a version twice');
call tests.put('e', 'new');
select cmp_ok((select version from project_files where file_path = 'e'), '>=', 1, 'a new path may begin higher');
-- Who knows less than the floor cannot be told what is gone.
create function tests.reset(since integer) returns text language sql as $$
  select coalesce(tests.run_as('agent', format('select public.list_project_changes(%L, %s)->>''reset''', tests.project('one'), since)), 'no')
$$;
select is((select string_agg(tests.reset(s), ' ' order by s) from unnest(array[0, 1, 7, 8, 15, 16]) s), 'no true true no no true', 'below the floor or above the head, but never from 0');
select is((select string_agg(f->>'file_path', ' ' order by n) from jsonb_array_elements(tests.run_as('agent', format('select public.list_project_changes(%L, 7)->''files''', tests.project('one')))::jsonb) with ordinality e(f, n)),
  'a c b e', 'a reset names every live path');
select is(tests.code('agent', format('select public.get_project_file(%L, ''a'', 1)', tests.project('one'))), 'PT404', 'a pruned version is gone');
-- Everything of a project that ended long ago.
delete from project_files where project_id = tests.project('one');
call tests.age();
select is(tests.prune()->>'tombstones', '5', 'all tombstones');
select is((select count(*) from project_files), 0::bigint, 'with all that lay below them');
call tests.put('a', 'from the start');
select is((select version from project_files where file_path = 'a'), 7, 'above every version that was');
select ok(tests.table_is_consistent() and tests.events_are_dense('one'), 'sound');
select * from finish();
