-- The functions that write single files: what they return, refuse, and leave alone.
call tests.create_people_and_projects();
select no_plan();

create function tests.save(who text, path text, content text, expected text default 'null', type text default 'typescript')
returns text language sql as $$
  select tests.row_of(who, format('public.upsert_project_file(%L, %L, %L, %L, %s)', tests.project('one'), path, content, type, expected))
$$;
create function tests.remove(who text, path text, expected text default 'null') returns text language sql as $$
  select tests.row_of(who, format('public.delete_project_file(%L, %L, %s)', tests.project('one'), path, expected))
$$;
create function tests.saving(path text, content text, expected text default 'null') returns text language sql as $$
  select format('select public.upsert_project_file(%L, %L, %L, ''text'', %s)', tests.project('one'), path, content, expected)
$$;

-- A life of one file.
select is(tests.save('owner', 'src/App.tsx', 'hello'), 'src/App.tsx|1|1|f|hello', 'a new file is version 1');
select is(tests.save('owner', 'src/App.tsx', 'hello 2', '1'), 'src/App.tsx|2|2|f|hello 2', 'the expected version is current');
select is(tests.save('editor', 'src/App.tsx', 'hello 2', '2'), 'src/App.tsx|2|2|f|hello 2', 'equal content gives the current row');
select is(tests.save('owner', 'src/App.tsx', 'hello 2', '1'), 'src/App.tsx|2|2|f|hello 2', 'equal content is no conflict: the answer was lost');
select is(tests.save('owner', 'src/App.tsx', 'hello 2', 'null', 'text'), 'src/App.tsx|2|2|f|hello 2', 'only the type differs');
select is((select file_type from project_files_current), 'text', 'the type is taken over');
select is(tests.head('one'), 2::bigint, 'equal content took no revision');
select is(tests.code('owner', tests.saving('src/App.tsx', 'stale', '1')), 'PT409', 'a stale version is a conflict');
select is(tests.details('owner', tests.saving('src/App.tsx', 'stale', '1')),
  '{"file_path": "src/App.tsx", "expected_version": 1, "current_version": 2}', 'the conflict says what is current');
select is(tests.details('owner', tests.saving('new.txt', 'x', '3')),
  '{"file_path": "new.txt", "expected_version": 3, "current_version": 0}', 'a file that is not there has version 0');
select is(tests.code('owner', tests.saving('src/App.tsx', 'x', '0')), 'PT409', '0 means: must not be there');
select is(tests.code('owner', tests.saving('src/App.tsx', 'x', '-1')), '22023', 'no version is below 0');
select is(tests.save('owner', 'new.txt', '', '0', ''), 'new.txt|1|3|f|', 'an empty file');
select is((select concat_ws('|', file_type, size, content_hash) from project_files_current where file_path = 'new.txt'),
  'text|0|e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 'its type, size and hash');
select is(tests.remove('editor', 'src/App.tsx', '2'), 'src/App.tsx|3|4|t', 'a delete gives the tombstone');
select is(tests.remove('editor', 'src/App.tsx', '2'), 'src/App.tsx|3|4|t', 'deleted once more: the same tombstone');
select is(tests.head('one'), 4::bigint, 'and no revision');
select is(tests.code('owner', tests.saving('src/App.tsx', 'x', '2')), 'PT409', 'deleted meanwhile is a conflict');
select is(tests.save('owner', 'src/App.tsx', 'back', '0'), 'src/App.tsx|4|5|f|back', 're-created above its tombstone');
select is(tests.code('owner', format('select public.delete_project_file(%L, ''src/App.tsx'', 1)', tests.project('one'))), 'PT409', 'a stale delete');
select is(tests.code('owner', format('select public.delete_project_file(%L, ''never.txt'')', tests.project('one'))), 'PT404', 'no such file');
select is((select count(*) from project_files where file_path = 'src/App.tsx'), 4::bigint, 'history stays');
select ok((select p.version = 3 and p.is_deleted and f.created_by = tests.person('owner') and f.last_modified_by = tests.person('owner')
  from project_files f join project_files p on p.id = f.parent_version_id where f.file_path = 'src/App.tsx' and f.version = 4),
  'parent, author and last author');
select is((select superseded_revision from project_files where file_path = 'src/App.tsx' and version = 2), 4::bigint, 'a row knows what put it aside');

-- Large, strange and refused.
select is(tests.code('owner', format('select public.upsert_project_file(%L, ''big.txt'', repeat(''0123456789'', 524288), ''text'')', tests.project('one'))), 'ok', '5 MB are saved');
select is((select concat_ws('|', size, content_hash = encode(sha256(convert_to(repeat('0123456789', 524288), 'UTF8')), 'hex')) from project_files_current
  where file_path = 'big.txt'), '5242880|t', 'and hashed');
select is(tests.save('owner', 'ünï/日本 語.txt', E'a\tb\r\n\u0001 😀'), E'ünï/日本 語.txt|1|7|f|a\tb\r\n\u0001 😀', 'text is text');
update project_sync.settings set max_file_bytes = 2000 where one_row;
select is(tests.code('owner', tests.saving('big2.txt', repeat('x', 2001))), '22023', 'too large a file');
select is(tests.code('owner', format('select public.upsert_project_file(%L, ''a'', null, ''text'')', tests.project('one'))), '22023', 'no content');
select is(tests.code('owner', format('select public.upsert_project_file(%L, ''a'', (''{"a": "x\u0000"}''::jsonb)->>''a'', ''text'')', tests.project('one'))), '22P05', 'a NUL never arrives');
select throws_ok('select convert_from(''\xc3'', ''UTF8'')', '22021', null, 'nor does invalid text');
select is(tests.code('owner', tests.saving(path, 'x')), '22023', 'refused: ' || left(replace(path, E'\n', '\n'), 40)) from unnest(array[
  '', '/etc/passwd', '..', '../x', 'a/../b', 'a/..', './a', 'a/./b', '.', 'a//b', 'a/', E'a\nb', E'a\u007fb', E'a\u0085b', 'a\..\b',
  'node_modules/x', 'a/Node_Modules/x', '.git/config', 'a/.GIT/hooks', '.git', '.preview/manifest.json', '.Preview/x',
  repeat('a', 256), repeat('a/', 2048) || 'a', repeat('ü', 128)]) path;
select is(tests.code('owner', tests.saving(path, path)), 'ok', 'taken: ' || left(path, 40)) from unnest(array[
  'a', '.env', 'a b', '..a/b..', '.gitignore', 'src/.preview/x', '[id].tsx', 'node_modules.txt', '%2e%2e', 'CON', repeat('a', 255)]) path;
select is(tests.code('owner', format('select public.upsert_project_file(%L, null, ''x'', ''text'')', tests.project('one'))), '22023', 'no path');

-- Binary content in storage.
create function tests.register(who text, path text, hash text, size text, expected text default 'null') returns text language sql as $$
  select format('select concat_ws(''|'', f.file_path, f.version, f.content is null, f.encoding, f.size, f.is_deleted) from public.register_project_asset(%L, %L, ''image'', %L, %s, %s) f',
    tests.project('one'), path, hash, size, expected)
$$;
select is(tests.code('owner', tests.register('owner', 'logo.png', repeat('a', 64), '10')), '22023', 'not uploaded');
insert into storage.objects (bucket_id, name, metadata) values ('project-assets', tests.project('one') || '/' || repeat('a', 64), '{"size": 10}');
select is(tests.code('owner', tests.register('owner', 'logo.png', repeat('a', 64), '11')), '22023', 'of another size');
select is(tests.code('owner', tests.register('owner', 'logo.png', 'abc', '10')), '22023', 'no sha256');
select is(tests.code('owner', tests.register('owner', 'logo.png', repeat('a', 64), 'null')), '22023', 'no size');
select is(tests.code('owner', tests.register('owner', '../logo.png', repeat('a', 64), '10')), '22023', 'an evil path');
select is(tests.run_as('owner', tests.register('owner', 'logo.png', repeat('A', 64), '10')), 'logo.png|1|t|base64|10|f', 'a stored object');
select is(tests.run_as('owner', tests.register('owner', 'logo.png', repeat('a', 64), '10', '5')), 'logo.png|1|t|base64|10|f', 'once more: nothing changes');
select is(tests.remove('owner', 'logo.png'), 'logo.png|2|10|t', 'and deleted');

select ok(tests.table_is_consistent(), 'digest, current rows and revisions hold');
select ok(tests.events_are_dense('one'), 'one event for each revision');
select * from finish();
