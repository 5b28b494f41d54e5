-- Raw SQL and older code: whoever writes the rows, one transaction is one revision and one event.
call tests.create_people_and_projects();
select no_plan();
create function tests.listing() returns text language sql as $$
  select string_agg(concat_ws('|', file_path, version, revision, case when is_deleted then 'deleted' else content end), ' ' order by file_path)
    from public.project_files where project_id = tests.project('one') and is_current_version
$$;
create function tests.history(path text) returns text language sql as $$
  select string_agg(concat_ws('|', version, revision, coalesce(superseded_revision::text, '-'), case when is_deleted then 'deleted' else content end), ' ' order by version)
    from public.project_files where project_id = tests.project('one') and file_path = path
$$;
create procedure tests.insert_raw(path text, body text) language sql as $$
  insert into public.project_files (project_id, file_path, content) values (tests.project('one'), path, body)
$$;

-- Inserts: the triggers say version, revision, hash, size, and what is current, whatever the statement says.
insert into project_files (project_id, file_path, file_type, content, content_hash, version, revision, is_current_version, size, encoding)
  values (tests.project('one'), 'a', 'text', 'hello', 'not the hash', 77, 99, false, 3, 'UTF8');
select is(tests.listing(), 'a|1|1|hello', 'a raw insert is the first version and revision');
select is((select concat_ws('|', content_hash, size, encoding, created_by = tests.person('owner'), last_modified_by is null) from project_files),
  '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824|5|utf-8|t|t', 'hash, size and author are put right');
call tests.insert_raw('a', 'hello 2');
select is(tests.history('a'), '1|1|2|hello 2|2|-|hello 2', 'an insert over a file is its next version');
call tests.insert_raw('a', 'hello 2');
select is(tests.listing(), 'a|3|3|hello 2', 'as it was asked for, also with equal content');
insert into project_files (project_id, file_path, content, version) values (tests.project('one'), 'a', 'upserted', 1)
  on conflict (project_id, file_path, version) do update set content = excluded.content;
select is(tests.listing(), 'a|4|4|upserted', 'an upsert on the version');
insert into project_files (id, project_id, file_path, content) select id, project_id, file_path, 'by id' from project_files where is_current_version
  on conflict (id) do update set content = excluded.content;
select is(tests.listing(), 'a|5|5|by id', 'an upsert on the id');
select is(tests.history('a'), '1|1|2|hello 2|2|3|hello 2 3|3|4|hello 2 4|4|5|upserted 5|5|-|by id', 'all of the history is there');
insert into project_files (id, project_id, file_path, content) select id, project_id, file_path, 'x' from project_files where is_current_version on conflict do nothing;
select is(tests.head('one'), 5::bigint, 'an insert that does nothing takes no revision');
select throws_ok($$insert into project_files (id, project_id, file_path, content) select id, project_id, file_path, 'x' from project_files where version = 1$$, '23505', null, 'an id that is taken');

-- Several statements, one transaction.
begin;
call tests.insert_raw('b', 'B');
call tests.insert_raw('c', 'C');
call tests.insert_raw('b', 'B2');
update project_files set content = 'A6' where file_path = 'a' and is_current_version;
delete from project_files where file_path = 'c';
commit;
select is(tests.listing(), 'a|6|6|A6 b|2|6|B2 c|2|6|deleted', 'many statements are one revision');
begin; call tests.insert_raw('d', 'D'); rollback;
select is(tests.head('one'), 6::bigint, 'a rollback takes none');
begin;
call tests.insert_raw('d', 'D');
savepoint s; call tests.insert_raw('e', 'E'); rollback to s;
call tests.insert_raw('f', 'F');
commit;
select is(tests.listing(), 'a|6|6|A6 b|2|6|B2 c|2|6|deleted d|1|7|D f|1|7|F', 'a savepoint that is rolled back leaves no trace');
begin;
savepoint s; call tests.insert_raw('e', 'E'); rollback to s;
commit;
select is(tests.head('one'), 7::bigint, 'nor does it take the revision');
begin;
call tests.insert_raw('g', 'G');
insert into project_files (project_id, file_path, content) values (tests.project('two'), 'other', 'x');
commit;
select is(concat_ws('|', tests.head('one'), tests.head('two')), '8|1', 'a revision for each project that it changes');
begin; set constraints all immediate; call tests.insert_raw('h', 'H');
select throws_ok($$call tests.insert_raw('i', 'I')$$, '55000', null, 'an event sent early closes the revision'); rollback;
begin isolation level repeatable read; call tests.insert_raw('g', 'G2'); commit;
select is(tests.head('one'), 9::bigint, 'under repeatable read');

-- Updates in place, as older editors save: the row keeps its id.
select id as file from project_files where file_path = 'b' and is_current_version \gset
update project_files set content = 'B3', updated_at = now() where id = :'file';
select is(tests.history('b'), '1|6|6|B 2|6|10|B2 3|10|-|B3', 'an update in place is a version');
select is((select id from project_files where file_path = 'b' and is_current_version)::text, :'file', 'under the same id');
select ok((select p.content = 'B2' from project_files f join project_files p on p.id = f.parent_version_id where f.id = :'file'), 'whose parent is what it was');
update project_files set content = 'B3', file_type = 'markdown' where id = :'file';
select is(tests.head('one'), 10::bigint, 'what changes no bytes takes no revision');
update project_files set content_hash = repeat('0', 64), version = 50, revision = 1, size = 7, is_current_version = false where id = :'file';
select is(tests.history('b'), '1|6|6|B 2|6|10|B2 3|10|-|B3', 'nor does what is not the writer''s to say');
update project_files set content = 'all of them' where file_path = 'b';
select is(tests.history('b'), '1|6|6|B 2|6|10|B2 3|10|11|B3 4|11|-|all of them', 'an update without versions means the current one');
update project_files set is_current_version = false where file_path = 'b' and is_current_version;
call tests.insert_raw('b', 'older code');
select is(tests.history('b'), '1|6|6|B 2|6|10|B2 3|10|11|B3 4|11|12|all of them 5|12|-|older code', 'retire, then insert: as the older functions did');
update project_files set is_current_version = true where file_path = 'b' and version = 1;
select is(tests.history('b'), '1|6|6|B 2|6|10|B2 3|10|11|B3 4|11|12|all of them 5|12|13|older code 6|13|-|B', 'an old version made current is a new one');
update project_files set content = null where file_path = 'b' and is_current_version;
select is(tests.listing(), 'a|6|6|A6 b|7|14|deleted c|2|6|deleted d|1|7|D f|1|7|F g|2|9|G2', 'content taken away is a delete');
update project_files set content = 'again' where file_path = 'b' and is_current_version;
select is(tests.listing(), 'a|6|6|A6 b|8|15|again c|2|6|deleted d|1|7|D f|1|7|F g|2|9|G2', 'and content given is its return');
update project_files set is_deleted = true where file_path = 'b' and is_current_version;
select is(tests.head('one'), 16::bigint, 'a delete by its column');

-- Renames in place.
update project_files set file_path = 'renamed' where file_path = 'd' and is_current_version;
select is(tests.listing(), 'a|6|6|A6 b|9|16|deleted c|2|6|deleted d|2|17|deleted f|1|7|F g|2|9|G2 renamed|1|17|D', 'a rename leaves a tombstone, in one revision');
select is(tests.history('d'), '1|7|17|D 2|17|-|deleted', 'and the history');
update project_files set file_path = 'c' where file_path = 'f' and is_current_version;
select is(tests.listing(), 'a|6|6|A6 b|9|16|deleted c|3|18|F d|2|17|deleted f|2|18|deleted g|2|9|G2 renamed|1|17|D', 'over a tombstone');
select throws_ok($$update project_files set file_path = 'a' where file_path = 'g' and is_current_version$$, '23505', null, 'not over a file');
select throws_ok($$update project_files set file_path = 'x' where file_path = 'b' and is_current_version$$, '23505', null, 'a tombstone has no name to give');
select throws_ok($$update project_files set file_path = '../x' where file_path = 'a' and is_current_version$$, '22023', null, 'nor to an evil path');
select throws_ok($$update project_files set id = gen_random_uuid() where file_path = 'a'$$, '0A000', null, 'ids stay');

-- Deletes.
delete from project_files where file_path = 'a';
select is(tests.history('a'), '1|1|2|hello 2|2|3|hello 2 3|3|4|hello 2 4|4|5|upserted 5|5|6|by id 6|6|19|A6 7|19|-|deleted', 'a raw delete leaves the history and a tombstone');
delete from project_files where file_path = 'a';
select is(tests.head('one'), 19::bigint, 'deleted once more: nothing');
insert into project_files (project_id, file_path, content) values (tests.project('one'), 'never', null);
select is(tests.head('one'), 19::bigint, 'a tombstone over nothing is nothing');
insert into project_files (project_id, file_path, content) values (tests.project('one'), 'g', null);
select is(tests.head('one'), 20::bigint, 'the tombstone of the older functions');
delete from project_files where project_id = tests.project('one');
select is(tests.head('one'), 21::bigint, 'all files at once are one revision');
select throws_ok('truncate project_files', '0A000', null, 'a log is not truncated');

-- What no row may hold.
select throws_ok(format('insert into project_files (project_id, file_path, content) values (%L, %L, ''x'')', tests.project('one'), path), '22023', null, 'refused: ' || path)
  from unnest(array['', '/x', '../x', 'node_modules/x', E'a\tb']) path;
select throws_ok(format('insert into project_files (project_id, file_path, content_hash, size) values (%L, ''s'', ''abc'', 1)', tests.project('one')), '22023', null, 'a stored object without sha256');
select throws_ok(format('insert into project_files (project_id, file_path, content_hash) values (%L, ''s'', %L)', tests.project('one'), repeat('a', 64)), '22023', null, 'or without size');
select throws_ok(format('insert into project_files (project_id, file_path, content, encoding) values (%L, ''s'', ''%%%%'', ''base64'')', tests.project('one')), '22023', null, 'base64 that is none');
insert into project_files (project_id, file_path, content, encoding) values (tests.project('one'), 'bin', encode('\x00ff', 'base64'), 'base64');
select is((select concat_ws('|', size, content_hash = encode(sha256('\x00ff'), 'hex')) from project_files_current where file_path = 'bin'), '2|t', 'base64 is hashed as its bytes');
select throws_ok(format('insert into project_files (project_id, file_path, content) values (%L, ''x'', ''x'')', tests.project('never')), 'PT404', null, 'a project that is not there');
alter table project_files disable trigger user;
select throws_ok(format('insert into project_files (project_id, file_path, content, content_hash, revision, size, version) values (%L, ''bin'', ''x'', %L, 1, 1, 9)', tests.project('one'), repeat('a', 64)), '23505', null, 'constraint: one current row a path');
alter table project_files enable trigger user;

select ok(tests.table_is_consistent(), 'digest, current rows and revisions hold');
select ok(tests.events_are_dense('one') and tests.events_are_dense('two'), 'one event for each revision');
select is((select string_agg(event, ' ' order by revision) from tests.events('one') where revision in (1, 6, 10, 17, 19)),
  'file:update bulk:apply file:update bulk:apply file:delete', 'of the kind that fits');

-- A project goes with everything that is its own.
delete from projects where id = tests.project('one');
select is((select count(*) from project_files where project_id = tests.project('one')) + (select count(*) from project_sync.counters where project_id = tests.project('one')), 0::bigint, 'nothing left of a project');
begin;
delete from project_sync.retired_projects;
call tests.create_people_and_projects(); call tests.insert_raw('a', 'a'); delete from projects where id = tests.project('one');
commit;
select ok(true, 'made, written and deleted in one transaction');
select * from finish();
