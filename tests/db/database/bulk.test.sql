-- Bulks: all or nothing, one revision, the bad entry named.
call tests.create_people_and_projects();
select no_plan();
create function tests.bulk(entries text) returns text language sql as $$
  select format('select public.bulk_upsert_project_files(%L, %L)', tests.project('one'), entries)
$$;
create function tests.result(entries text) returns text language sql as $$
  select concat_ws(' ', answer->>'revision', (select string_agg(concat_ws(':', f->>'file_path', f->>'version', left(f->>'content_hash', 4)), ' ' order by n) from jsonb_array_elements(answer->'files') with ordinality e(f, n)))
    from (select tests.run_as('editor', tests.bulk(entries))::jsonb as answer) a
$$;
select is(tests.result('[{"file_path": "b", "content": "B", "file_type": "text"}, {"file_path": "a", "content": "A", "expected_version": 0}]'), '1 b:1:df7e a:1:559a', 'two new files, in the order of the entries');
select is(tests.result('[{"file_path": "b", "content": "B"}, {"file_path": "a", "content": "A", "expected_version": 9}]'), '1 b:1:df7e a:1:559a', 'equal content changes nothing');
select is(tests.result('[{"file_path": "b", "content": "B"}, {"file_path": "a", "content": "A2", "expected_version": 1}]'), '2 b:1:df7e a:2:c836', 'only what differs is written');
select is(tests.result('[{"action": "delete", "file_path": "a", "expected_version": 2}, {"file_path": "renamed", "content": "A2"}]'), '3 a:3 renamed:1:c836', 'a rename is one bulk');
select is(tests.result('[{"action": "delete", "file_path": "a", "expected_version": 1}]'), '3 a:3', 'deleted once more');
select is((select string_agg(event || coalesce(':' || (payload->>'count'), ''), ' ' order by revision) from tests.events('one')), 'bulk:apply:2 bulk:apply:1 bulk:apply:2', 'a bulk''s event is a bulk event, however little it changes');
select is(tests.run_as('editor', format('select public.bulk_delete_project_files(%L, ''{b,renamed}'')', tests.project('one')))::jsonb,
  '{"revision": 4, "files": [{"file_path": "b", "version": 2, "content_hash": null}, {"file_path": "renamed", "version": 2, "content_hash": null}]}', 'deletes in bulk');
select is(tests.result('[{"file_path": "a", "content": "A3", "file_type": "text"}, {"file_path": "new/ü", "content": "", "expected_version": null}]'), '5 a:4:1398 new/ü:1:e3b0', 're-created');

-- Bad ones. Nothing is written, and the entry is named.
create table tests.refused (entry text, code text, details jsonb);
insert into tests.refused values
  ('{"file_path": "../x", "content": "x"}', '22023', '{"entry": 1, "file_path": "../x"}'),
  ('{"file_path": "", "content": "x"}', '22023', '{"entry": 1, "file_path": ""}'),
  ('{"file_path": "node_modules/x", "content": "x"}', '22023', '{"entry": 1, "file_path": "node_modules/x"}'),
  ('{"content": "x"}', '22023', '{"entry": 1, "file_path": null}'),
  ('{"file_path": 7, "content": "x"}', '22023', '{"entry": 1, "file_path": "7"}'),
  ('{"file_path": "x"}', '22023', '{"entry": 1, "file_path": "x"}'),
  ('{"file_path": "x", "content": 7}', '22023', '{"entry": 1, "file_path": "x"}'),
  ('{"file_path": "x", "content": null, "content_hash": "abc", "size": 1}', '22023', '{"entry": 1, "file_path": "x"}'),
  ('{"file_path": "x", "content_hash": "' || repeat('a', 64) || '"}', '22023', '{"entry": 1, "file_path": "x"}'),
  ('{"file_path": "x", "content_hash": "' || repeat('a', 64) || '", "size": -1}', '22023', '{"entry": 1, "file_path": "x"}'),
  ('{"file_path": "x", "content_hash": "' || repeat('a', 64) || '", "size": 4}', '22023', '{"entry": 1, "file_path": "x"}'),
  ('{"file_path": "x", "content": "x", "expected_version": "1"}', '22023', '{"entry": 1, "file_path": "x"}'),
  ('{"file_path": "x", "content": "x", "expected_version": 1.5}', '22023', '{"entry": 1, "file_path": "x"}'),
  ('{"file_path": "x", "content": "x", "expected_version": 99999999999}', '22023', '{"entry": 1, "file_path": "x"}'),
  ('{"file_path": "x", "content": "x", "file_type": 3}', '22023', '{"entry": 1, "file_path": "x"}'),
  ('{"file_path": "x", "content": "x", "action": "chmod"}', '22023', '{"entry": 1, "file_path": "x"}'),
  ('{"file_path": "good", "content": "x"}', '22023', '{"entry": 1, "file_path": "good"}'),
  ('"x"', '22023', '{"entry": 1, "file_path": null}'), ('null', '22023', '{"entry": 1, "file_path": null}'),
  ('{"action": "delete", "file_path": "never"}', 'PT404', '{"entry": 1, "file_path": "never"}'),
  ('{"file_path": "x", "content": "x", "expected_version": 3}', 'PT409', '{"entry": 1, "file_path": "x", "expected_version": 3, "current_version": 0}'),
  ('{"file_path": "a", "content": "x", "expected_version": 3}', 'PT409', '{"entry": 1, "file_path": "a", "expected_version": 3, "current_version": 4}'),
  ('{"action": "delete", "file_path": "a", "expected_version": 3}', 'PT409', '{"entry": 1, "file_path": "a", "expected_version": 3, "current_version": 4}');
select is(tests.code('owner', tests.bulk('[{"file_path": "good", "content": "g"}, ' || entry || ']')), code, 'refused: ' || left(entry, 70)) from tests.refused;
select is(tests.details('owner', tests.bulk('[{"file_path": "good", "content": "g"}, ' || entry || ']')), details, 'named: ' || left(entry, 70)) from tests.refused;
select is(tests.code('owner', tests.bulk(files)), '22023', 'refused: ' || files) from unnest(array['[]', '{}', 'null', '"x"', '{"file_path": "x", "content": "x"}']) files;
select is(tests.code('owner', format('select public.bulk_upsert_project_files(%L, null)', tests.project('one'))), '22023', 'refused: no files at all');
select is(tests.code('owner', tests.bulk('[{"file_path": "x\u0000", "content": "x"}]')), '22P05', 'refused: NUL');
select is(tests.code('owner', format('select public.bulk_delete_project_files(%L, %s)', tests.project('one'), paths)), '22023', 'refused: ' || paths)
  from unnest(array['''{}''', 'null', '''{a,null}''', '''{a,a}''']) paths;
select is(tests.code('owner', format('select public.bulk_delete_project_files(%L, ''{a,never}'')', tests.project('one'))), 'PT404', 'one that is not there');
create function tests.many(n integer) returns text language sql as $$
  select format('select public.bulk_upsert_project_files(%L, (select jsonb_agg(jsonb_build_object(''file_path'', ''many/'' || n, ''content'', n)) from (select n::text from generate_series(1, %s) n) n))', tests.project('one'), n)
$$;
select is(tests.code('owner', tests.many(10001)), '22023', 'refused: 10,001 entries');
select is(concat_ws('|', tests.head('one'), (select count(*) from project_files_current)), '5|2', 'nothing of all that was written');

-- Stored objects in a bulk, and the largest bulk.
insert into storage.objects (bucket_id, name, metadata) values ('project-assets', tests.project('one') || '/' || repeat('a', 64), '{"size": 4}');
select is(tests.result('[{"file_path": "logo.png", "file_type": "image", "content_hash": "' || repeat('A', 64) || '", "size": 4}]'), '6 logo.png:1:aaaa', 'a stored object');
select is(tests.code('editor', tests.many(10000)), 'ok', '10,000 entries');
select is(tests.head('one'), 7::bigint, 'are one revision');
select is((select payload - 'timestamp' - 'sender' - 'id' from tests.events('one') where revision = 7), '{"revision": 7, "count": 10000, "files": [], "files_omitted": true}', 'whose list is too long for an event');
select is(tests.run_as('agent', format('select jsonb_array_length(public.list_project_changes(%L, 6, 100)->''files'')', tests.project('one'))), '10000', 'and is read whole');
update project_sync.settings set rate_per_second = 0.001, rate_burst = 60 where one_row;
delete from project_sync.rate_limits;
create function tests.delete_many(n integer) returns text language sql as $$
  select format('select public.bulk_delete_project_files(%L, array(select ''many/'' || n from generate_series(1, %s) n))', tests.project('one'), n)
$$;
select is(tests.code('editor', tests.delete_many(10000)), 'ok', 'deleted in one bulk');
select is(tests.code('editor', tests.delete_many(10000)), 'PT429', 'bulks cost by their size');
select is(tests.code('editor', tests.delete_many(2000)), 'ok', 'a small one is still to be had');
select ok(tests.table_is_consistent() and tests.events_are_dense('one'), 'sound');
select * from finish();
