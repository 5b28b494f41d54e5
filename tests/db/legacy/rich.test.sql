-- Adoption of the richer shape.
select no_plan();
create function tests.row(path text) returns text language sql as $$
  select string_agg(concat_ws('|', version, case when is_current_version then 'current' end, case when is_deleted then 'deleted' else coalesce(content, 'stored') end, revision, size, left(content_hash, 6), encoding), ' ' order by version)
    from project_files where project_id = tests.project('one') and file_path = path
$$;
select is((select count(*) from project_files where project_id = tests.project('one')), 16::bigint, 'no row is lost');
select is(tests.row('src/App.tsx'), '1|v1|1|2|3bfc26|utf-8 2|v2|1|2|' || left(encode(sha256('v2'), 'hex'), 6) || '|utf-8 3|current|v3|1|2|' || left(encode(sha256('v3'), 'hex'), 6) || '|utf-8', 'versions stay, hashes and sizes are taken anew');
select is(tests.row('all-current.ts') ~ '^1\|one.* 2\|current\|two', true, 'of many current rows the highest is');
select is(tests.row('restored.ts') ~ '^3\|dropped.* 4\|current\|kept', true, 'the current row becomes the highest');
select is(tests.row('deleted.ts') ~ '^1\|was.* 2\|current\|deleted\|1\|0', true, 'older tombstones are tombstones');
select is(tests.row('logo.png'), '1|current|stored|1|1234|aaaaaa|base64', 'binary files in storage');
select is(tests.row('md5.png') ~ 'deleted', true, 'a hash of another kind names no object');
select is(tests.row('src') ~ 'deleted', true, 'a directory is no file');
select is(tests.row('font.woff'), '1|current|AP8Q|1|3|' || left(encode(sha256('\x00ff10'), 'hex'), 6) || '|base64', 'base64 is hashed as its bytes');
select is(tests.row('odd.txt') ~ 'not base64 %\|1\|12.*utf-8', true, 'text that is no base64 is text');
select ok(bool_and(ai_analysis = '{"seen": true}') filter (where ai_analysis is not null), 'other columns stay') from project_files;
select ok(tests.table_is_consistent() and tests.head('one') = 1 and tests.head('two') = 0, 'what was there is revision 1');
select is((select count(*) from tests.events('one')), 0::bigint, 'and no event');
-- Rights: the older policy let everybody in.
select is(tests.run_as('stranger', 'select count(*) from public.project_files'), '0', 'the older policy is gone');
select is(tests.code('owner', format('select public.list_current_files(%L)', tests.project('one'))), 'ok', 'the owner is found in user_id');
select is(tests.code('stranger', format('select public.list_current_files(%L)', tests.project('one'))), '42501', 'and a stranger is none');
-- It works from here on.
select is(tests.row_of('owner', format('public.upsert_project_file(%L, ''src/App.tsx'', ''v4'', ''typescript'', 3)', tests.project('one'))), 'src/App.tsx|4|2|f|v4', 'saved on top');
select is(tests.row_of('owner', format('public.upsert_project_file(%L, ''new.ts'', ''n'', ''typescript'')', tests.project('one'))), 'new.ts|1|3|f|n', 'a new file');
select is(tests.code('owner', format('select public.upsert_project_file(%L, ''../evil'', ''x'', ''text'')', tests.project('one'))), '22023', 'an adopted path of the refused kind is not written');
select is(tests.row_of('owner', format('public.delete_project_file(%L, ''../evil'')', tests.project('one'))), '../evil|2|4|t', 'but deleted');
select is(tests.code('owner', format('insert into public.project_files (project_id, file_path, content, file_name, created_by) values (%L, ''older.ts'', ''o'', ''older.ts'', %L) returning 1', tests.project('one'), tests.person('owner'))), 'ok', 'older code inserts');
select is((select string_agg(concat(event, ':', revision), ' ' order by revision) from tests.events('one')), 'file:update:2 file:update:3 file:delete:4 file:update:5', 'each an event');
delete from user_profiles where id = tests.person('stranger') and false;
select ok((select array_agg(conname::text) = '{project_files_sync_project}' from pg_constraint where conrelid = 'project_files'::regclass and contype = 'f'), 'authors have no keys: deleting a person deletes no file');
select ok(tests.table_is_consistent(), 'sound');
select * from finish();
