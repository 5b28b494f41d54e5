-- The reads: pages, boundaries, resets, the digest.
call tests.create_people_and_projects();
select no_plan();
create function tests.changes(since text, more text default '') returns jsonb language sql as $$
  select tests.run_as('agent', format('select public.list_project_changes(%L, %s%s)', tests.project('one'), since, more))::jsonb
$$;
-- A page in short: paths with revision, content or - where it is left out, x for a tombstone; then head, complete, reset.
create function tests.page(since text, more text default '') returns text language sql as $$
  select concat_ws(' ', (select string_agg(concat(f->>'file_path', ':', f->>'revision', case when (f->>'is_deleted')::boolean then 'x'
      when (f->>'content_omitted')::boolean then '-' else '' end), ' ' order by n) from jsonb_array_elements(answer->'files') with ordinality as e(f, n)),
    'head=' || (answer->>'head_revision'), 'complete=' || (answer->>'complete'), 'reset=' || (answer->>'reset'))
  from (select tests.changes(since, more) as answer) a
$$;
create procedure tests.put(path text, body text) language plpgsql as $$
begin
  perform tests.run_as('owner', format('select public.upsert_project_file(%L, %L, %L, ''text'')', tests.project('one'), path, body));
end $$;

-- Nothing yet.
select is(tests.run_as('agent', format('select public.project_head(%L)', tests.project('one')))::jsonb,
  jsonb_build_object('head_revision', 0, 'digest', repeat('0', 64)), 'an empty project');
select is(tests.page('0'), 'head=0 complete=true', 'has no changes');
select is(tests.page('1'), 'head=0 complete=true reset=true', 'and whoever knows more must forget it');

-- The contract's digest.
call tests.put('src/App.tsx', 'one'); call tests.put('src/App.tsx', 'two'); call tests.put('src/App.tsx', 'hello');
select is(tests.run_as('agent', format('select public.project_head(%L)', tests.project('one')))::jsonb,
  '{"head_revision": 3, "digest": "ae7cc41f17dd453128c6d3c336e32c5862cabea295c863f371195e3d3f7d7a25"}', 'the digest of the contract');
select is(tests.changes('0')->>'digest', 'ae7cc41f17dd453128c6d3c336e32c5862cabea295c863f371195e3d3f7d7a25', 'stands in a listing too');
select is(tests.changes('0')->'files'->0, jsonb_build_object('file_path', 'src/App.tsx', 'version', 3, 'revision', 3, 'content', 'hello',
  'content_hash', '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824', 'size', 5, 'encoding', 'utf-8', 'content_omitted', false, 'is_deleted', false), 'the shape of a file');

call tests.put('b', 'B'); call tests.put('c', 'C');
select tests.run_as('owner', format('select public.delete_project_file(%L, ''b'')', tests.project('one')));
select is(tests.page('0'), 'src/App.tsx:3 c:5 b:6x head=6 complete=true', 'in revision order, tombstones included');
select is(tests.changes('5')->'files'->0, '{"file_path": "b", "version": 2, "revision": 6, "content": null, "content_hash": null, "size": 0, "encoding": "utf-8", "content_omitted": false, "is_deleted": true}', 'the shape of a tombstone');
select is(tests.page('3'), 'c:5 b:6x head=6 complete=true', 'above a revision');
select is(tests.page('6'), 'head=6 complete=true', 'at the head');
select is(tests.page('7'), 'src/App.tsx:3- c:5- head=6 complete=true reset=true', 'above the head: a restored backup');
select is(tests.page('0', ', 500, false'), 'src/App.tsx:3- c:5- b:6x head=6 complete=true', 'without content');
select is(tests.page('null', ', null, null'), 'src/App.tsx:3 c:5 b:6x head=6 complete=true', 'null means the default');
select is(tests.code('agent', format('select public.list_project_changes(%L, -1)', tests.project('one'))), '22023', 'no revision is below 0');

-- Pages by rows: never within a revision.
select is(tests.page('0', ', 1'), 'src/App.tsx:3 head=6 complete=false', 'one row');
select is(tests.page('3', ', 1'), 'c:5 head=6 complete=false', 'the next');
select is(tests.page('5', ', 1'), 'b:6x head=6 complete=true', 'the last');
select is(tests.page('0', ', 0'), 'src/App.tsx:3 head=6 complete=false', 'at least one');
select tests.run_as('owner', format('select public.bulk_upsert_project_files(%L, ''[{"file_path": "x", "content": "1"}, {"file_path": "y", "content": "2"}, {"file_path": "z", "content": "3"}]'')', tests.project('one')));
select is(tests.page('5', ', 2'), 'b:6x x:7 y:7 z:7 head=7 complete=true', 'a revision stays whole');
select is(tests.page('6', ', 1'), 'x:7 y:7 z:7 head=7 complete=true', 'also when it is larger than the page');

-- Pages by bytes.
update project_sync.settings set page_bytes = 5000 where one_row;
call tests.put('p1', repeat('1', 2000)); call tests.put('p2', repeat('2', 2000)); call tests.put('p3', repeat('3', 2000)); call tests.put('p4', repeat('4', 2000));
select is(tests.page('7'), 'p1:8 p2:9 p3:10 head=11 complete=false', 'ends at the first boundary past the limit');
select is(tests.page('7', ', 500, false'), 'p1:8- p2:9- p3:10- p4:11- head=11 complete=true', 'which counts content only');
call tests.put('huge', repeat('h', 6000));
select is(tests.page('10'), 'p4:11 huge:12- head=12 complete=true', 'one revision larger than the limit leaves content out');
select tests.run_as('owner', format('select public.bulk_upsert_project_files(%L, (select jsonb_agg(jsonb_build_object(''file_path'', ''q'' || n, ''content'', repeat(n::text, 2000))) from generate_series(1, 4) n))', tests.project('one')));
select is(tests.page('12'), 'q1:13 q2:13 q3:13- q4:13- head=13 complete=true', 'as much of it as fits is there');
select is(tests.page('11'), 'huge:12- head=13 complete=false', 'and the next revision is the next page''s');

-- Paging through everything from 0 gives every live path once, with the head at the end.
do $$
declare
  since bigint := 0; seen text[] := '{}'; answer jsonb; pages integer := 0;
begin
  loop
    answer := tests.changes(since::text, ', 3');
    seen := seen || array(select f->>'file_path' from jsonb_array_elements(answer->'files') f where not (f->>'is_deleted')::boolean);
    pages := pages + 1;
    exit when (answer->>'complete')::boolean or pages > 100;
    since := answer->'files'->-1->>'revision';
  end loop;
  create table tests.paged as select seen, pages, answer;
end $$;
select ok((select (select array_agg(p order by p) from unnest(seen) p) = (select array_agg(file_path order by file_path) from project_files_current where project_id = tests.project('one')) from tests.paged), 'every live path once');
select ok((select pages between 4 and 12 from tests.paged), 'in pages');

-- One file.
select is(tests.run_as('agent', format('select public.get_project_file(%L, ''src/App.tsx'', 2)', tests.project('one')))::jsonb - 'content_hash',
  '{"file_path": "src/App.tsx", "version": 2, "content": "two", "encoding": "utf-8", "size": 3}', 'an older version');
select is(tests.run_as('agent', format('select public.get_project_file(%L, ''huge'', 1)', tests.project('one')))::jsonb->>'content', repeat('h', 6000), 'whatever its size');
select is(tests.code('agent', format('select public.get_project_file(%L, %s)', tests.project('one'), args)), 'PT404', 'gone: ' || args)
  from unnest(array['''src/App.tsx'', 9', '''src/App.tsx'', 0', '''never'', 1', '''b'', 2', '''../x'', 1', 'null, null']) args;
insert into storage.objects (bucket_id, name) values ('project-assets', tests.project('one') || '/' || repeat('a', 64));
insert into project_files (project_id, file_path, content_hash, size) values (tests.project('one'), 'logo.png', repeat('a', 64), 10);
select is(tests.run_as('agent', format('select public.get_project_file(%L, ''logo.png'', 1)', tests.project('one')))::jsonb,
  jsonb_build_object('file_path', 'logo.png', 'version', 1, 'content', null, 'encoding', 'base64', 'content_hash', repeat('a', 64), 'size', 10), 'in storage: no content');
select is(tests.page('13'), 'logo.png:14- head=14 complete=true', 'and none in a listing');

-- The older listing.
select is(tests.run_as('agent', format('select string_agg(file_path || '':'' || version, '' '' order by file_path) from public.list_current_files(%L) where file_path > ''x''', tests.project('one'))), 'y:1 z:1', 'paged by a filter');
select is(tests.run_as('agent', format('select array_agg(k) from public.list_current_files(%L) f, lateral json_object_keys(row_to_json(f)) k where file_path = ''c''', tests.project('one'))), '{file_path,file_type,content,content_hash,version,updated_at}', 'its columns');

-- One state: a writer that commits between two reads of a VOLATILE function would be half seen.
select ok(provolatile = 's', proname || ' reads one state') from pg_proc where proname in ('list_project_changes', 'project_head', 'get_project_file', 'list_current_files');
create function tests.plan_of_a_page() returns text language plpgsql as $$
declare
  line text;
  plan text := '';
begin
  perform set_config('request.jwt.claims', '{"role": "service_role"}', true), set_config('role', 'service_role', true);
  for line in execute format('explain select * from public.list_current_files(%L) where file_path > ''a'' order by file_path limit 5', tests.project('one')) loop
    plan := plan || line;
  end loop;
  perform set_config('role', 'none', true);
  return plan;
end $$;
select unalike(tests.plan_of_a_page(), '%Function Scan%', 'a page of the legacy listing does not read the whole listing');
select ok(tests.table_is_consistent() and tests.events_are_dense('one'), 'sound');
select * from finish();
