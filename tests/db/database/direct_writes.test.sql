-- What a person may and may not do by writing to tables directly: rights come first, and the rules of the functions apply.
call tests.create_people_and_projects();
select no_plan();
create function tests.insert_file(project text, columns text, "values" text) returns text language sql as $$
  select format('insert into public.project_files (project_id, %s) values (%L, %s) returning 1', columns, tests.project(project), "values")
$$;
create function tests.advisory_locks() returns bigint language sql as
  $$ select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() $$;
select tests.run_as('owner', format('select public.upsert_project_file(%L, ''a.txt'', ''A'', ''text'')', tests.project('one')));

-- Rights are checked before any lock or effect, and the error does not tell what exists.
begin;
select is(tests.run_as('stranger', tests.insert_file(project, columns, "values")), '42501 no right to this project', format('stranger, project %s: %s', project, "values"))
  from unnest(array['one', 'never']) project, (values ('file_path, is_deleted', '''missing.txt'', true'), ('file_path, is_deleted', '''a.txt'', true'),
    ('file_path, content', '''a.txt'', ''x'''), ('file_path, content', '''../x'', ''x'''), ('file_path, content, encoding', '''b'', ''%'', ''base64'''),
    ('file_path, content_hash', '''s'', ''abc''')) c(columns, "values");
select is(tests.advisory_locks(), 0::bigint, 'a rejected insert takes no project lock');
rollback;
select is(tests.run_as('collaborator', tests.insert_file('one', 'file_path, is_deleted', '''missing.txt'', true')), '42501 no right to this project', 'a reader is rejected too');
insert into preview_sessions (project_id, owner_id, lease_until) values (tests.project('one'), tests.person('owner'), now()) returning id as session \gset
begin;
select is(tests.code('stranger', format('select public.end_preview_session(%L)', :'session')), 'PT404', 'a stranger cannot end a session');
rollback;
select is(tests.run_as('stranger', format('select public.end_preview_session(%L)', :'session')), tests.run_as('stranger', format('select public.end_preview_session(%L)', gen_random_uuid())),
  'the error does not tell whether a session exists');

-- The author and the times of a row.
select tests.run_as('editor', tests.insert_file('one', 'file_path, content, created_at, updated_at', '''times.txt'', ''x'', ''2001-01-01'', ''2001-01-01'''));
select ok(created_at > now() - interval '1 minute' and updated_at > now() - interval '1 minute', 'an editor cannot choose the times of a new row') from project_files where file_path = 'times.txt';
select is(tests.run_as('editor', format('with u as (update public.project_files set created_by = %L, last_modified_by = %L, created_at = ''2001-01-01'', updated_at = ''2001-01-01'', file_type = ''%s'' where file_path = ''a.txt'' returning 1) select count(*) from u',
  tests.person('editor'), tests.person('owner'), n)), '1', 'the update is accepted') from unnest(array['first', 'second']) n;
select is(concat_ws('|', created_by = tests.person('owner'), last_modified_by = tests.person('editor'), created_at > now() - interval '1 minute', updated_at > now() - interval '1 minute', file_type),
  't|t|t|t|second', 'but not its author and times') from project_files where file_path = 'a.txt';
select tests.run_as('editor', format('update public.project_files set content = ''A2'' where file_path = ''a.txt'' and project_id = %L returning 1', tests.project('one')));
select tests.run_as('editor', 'update public.project_files set updated_at = ''2001-01-01'', created_by = null, file_type = ''changed'' where file_path = ''a.txt'' and not is_current_version returning 1');
select is(concat_ws('|', created_by = tests.person('owner'), updated_at > now() - interval '1 minute', file_type), 't|t|second', 'nor those of a history row')
  from project_files where file_path = 'a.txt' and not is_current_version;

-- An asset needs its object.
select is(tests.code('owner', tests.insert_file('one', 'file_path, content_hash, size', format('''logo.png'', %L, 10', repeat('a', 64)))), '22023', 'no asset without its object');
select is(tests.code('owner', format('update public.project_files set content = null, content_hash = %L, size = 10 where file_path = ''a.txt'' and is_current_version returning 1', repeat('a', 64))), '22023', 'nor by an update');
insert into storage.objects (bucket_id, name, metadata) values ('project-assets', tests.project('one') || '/' || repeat('a', 64), '{"size": 10}');
select is(tests.code('owner', tests.insert_file('one', 'file_path, content_hash, size', format('''logo.png'', %L, 11', repeat('a', 64)))), '22023', 'nor with another size');
select is(tests.code('owner', tests.insert_file('one', 'file_path, content_hash, size', format('''logo.png'', %L, 10', repeat('a', 64)))), 'ok', 'an asset with its object');

-- Bounds of the file type and of paths.
select is(tests.code('owner', call), '22023', left(call, 90)) from unnest(array[
  format('select public.upsert_project_file(%L, ''t'', ''x'', repeat(''t'', 256))', tests.project('one')),
  format('select public.upsert_project_file(%L, ''times.txt'', ''x'', repeat(''t'', 256))', tests.project('one')),
  format('select public.register_project_asset(%L, ''logo2.png'', repeat(''t'', 256), repeat(''a'', 64), 10)', tests.project('one')),
  format('select public.bulk_upsert_project_files(%L, jsonb_build_array(jsonb_build_object(''file_path'', ''t'', ''content'', ''x'', ''file_type'', repeat(''t'', 256))))', tests.project('one')),
  tests.insert_file('one', 'file_path, content, file_type', '''t'', ''x'', repeat(''t'', 256)'),
  'update public.project_files set file_type = repeat(''t'', 256) where file_path = ''a.txt'' and is_current_version returning 1']) call;
select is(tests.code('owner', format('select public.upsert_project_file(%L, ''t'', ''x'', repeat(''t'', 255))', tests.project('one'))), 'ok', 'a file type of 255 bytes');
select matches(tests.run_as('owner', format(call, tests.project('one'), path)), '^22023 .*' || reason, reason || ': ' || left(call, 40)) from (values
    (repeat('a/', 511) || 'abc', 'longer than 1024 bytes'), (repeat(md5('x') || '/', 40), 'longer than 1024 bytes'), (repeat('a/', 64) || 'a', 'more than 64 parts'), (repeat('aaaa/', 64) || 'a', 'more than 64 parts')) p(path, reason),
  unnest(array['select public.upsert_project_file(%L, %L, ''x'', ''text'')', 'select public.bulk_delete_project_files(%L, array[%L])', 'insert into public.project_files (project_id, file_path, content) values (%L, %L, ''x'')']) call;
select is(tests.code('owner', format('select public.upsert_project_file(%L, %L, ''x'', ''text'')', tests.project('one'), path)), 'ok', 'a path of ' || octet_length(path) || ' bytes') from unnest(array[
  repeat('a/', 63) || 'a', repeat(repeat('b', 15) || '/', 63) || repeat('c', 16), (select string_agg(repeat(md5(n::text), 7), '/') from generate_series(1, 4) n) || '/' || repeat('d', 124)]) path;

-- Direct writes are rate limited like the functions.
update project_sync.settings set rate_per_second = 0.5, rate_burst = 50 where one_row;
delete from project_sync.rate_limits;
create function tests.direct_writes(statement text, n integer) returns text language plpgsql as $$
declare
  code text;
begin
  for i in 1..n loop
    code := tests.code('editor', format(statement, i));
    if code <> 'ok' then return code || ' at ' || i; end if;
    -- Each call of the API is a transaction; here the marker of the charge is removed instead.
    perform set_config('project_sync.charged', '', true);
  end loop;
  return 'ok';
end $$;
select is(tests.direct_writes(format('insert into public.project_files (project_id, file_path, content) values (%L, ''r.txt'', ''%%s'') returning 1', tests.project('one')), 50), 'ok', 'a burst of direct inserts');
select matches(tests.direct_writes(format('insert into public.project_files (project_id, file_path, content) values (%L, ''r.txt'', ''more %%s'') returning 1', tests.project('one')), 5), '^PT429', 'is limited');
select matches(tests.direct_writes('update public.project_files set content = ''%s'' where file_path = ''r.txt'' and is_current_version returning 1', 5), '^PT429', 'so are direct updates');
select matches(tests.direct_writes('delete from public.project_files where file_path = ''r.txt'' and ''%s'' <> '''' returning 1', 5), '^PT429', 'and deletes');
delete from project_sync.rate_limits;
select is(tests.code('editor', format('with i as (insert into public.project_files (project_id, file_path, content) select %L, ''many/'' || n, ''x'' from generate_series(1, 9000) n returning 1) select count(*) from i', tests.project('one'))), 'ok', 'many rows in one statement');
select cmp_ok(tokens, '<', 25::numeric, 'cost by their number') from project_sync.rate_limits where user_id = tests.person('editor');
select is(tests.code('editor', format('with i as (insert into public.project_files (project_id, file_path, content) select %L, ''more/'' || n, ''x'' from generate_series(1, 9000) n returning 1) select count(*) from i', tests.project('one'))), 'PT429', 'until the bucket is empty');

-- The id of a deleted project.
insert into storage.objects (bucket_id, name) values ('project-snapshots', tests.project('one') || '/1.zip'), ('project-assets', tests.project('two') || '/' || repeat('b', 64));
select is(tests.run_as('owner', format('with d as (delete from public.projects where id = %L returning 1) select count(*) from d', tests.project('one'))), '1', 'the owner deletes the project');
select is((select string_agg(name, ' ') from storage.objects), tests.project('two') || '/' || repeat('b', 64), 'its objects are removed, and no others');
select is(tests.code('stranger', format('insert into public.projects (id, owner_id) values (%L, %L)', tests.project(name), tests.person('stranger'))), '23505', 'the id cannot be used: ' || name)
  from unnest(array['one', 'two']) name;
insert into projects (id, owner_id) values (tests.project('of the stranger'), tests.person('stranger'));
select is(tests.code('stranger', format('update public.projects set id = %L where id = %L', tests.project('one'), tests.project('of the stranger'))), '23505', 'nor by an update');
select is(tests.code('service', format('insert into public.projects (id, owner_id) values (%L, %L)', tests.project('one'), tests.person('owner'))), '23505', 'nor by the service');
select is(tests.code('stranger', format('update public.projects set id = %L where id = %L returning 1', tests.project('renamed'), tests.project('of the stranger'))), 'ok', 'an unused id');
select is(tests.code('stranger', format('insert into public.projects (id, owner_id) values (%L, %L)', tests.project('of the stranger'), tests.person('stranger'))), '23505', 'which retires the old one');
delete from project_sync.retired_projects where project_id = tests.project('one');
select lives_ok(format('insert into projects (id, owner_id) values (%L, %L)', tests.project('one'), tests.person('owner')), 'an operator can release an id');
select ok(tests.table_is_consistent(), 'consistent');
select * from finish();
