-- Buckets and who reaches what in them.
begin;
\ir ../helpers.psql
call tests.create_people_and_projects();
select no_plan();
select is((select string_agg(concat_ws('|', id, public, file_size_limit, allowed_mime_types), ' ' order by id) from storage.buckets),
  'project-assets|f|52428800 project-snapshots|f|52428800|{application/zip,application/x-zip-compressed}', 'the buckets and their limits');
insert into storage.objects (bucket_id, name) select bucket, tests.project(project) || '/' || object
  from unnest(array['one', 'two']) project, (values ('project-assets', repeat('a', 64)), ('project-snapshots', '1-x.zip')) o(bucket, object);
insert into storage.objects (bucket_id, name) values ('project-assets', 'stray'), ('project-assets', '../' || tests.project('one')), ('project-snapshots', '');
create function tests.sees(who text, bucket text) returns text language sql as $$
  select tests.run_as(who, format('select string_agg(p.name, '' '' order by p.name) from storage.objects o left join (values (%L, ''one''), (%L, ''two'')) p(id, name) on split_part(o.name, ''/'', 1) = p.id where bucket_id = %L', tests.project('one'), tests.project('two'), bucket))
$$;
select is(tests.sees(who, 'project-assets'), case when who in ('owner', 'editor', 'collaborator', 'agent') then 'one' when who in ('other agent', 'other owner') then 'two' end, who || ' sees assets')
  from unnest(array['owner', 'editor', 'collaborator', 'agent', 'stranger', 'anon', 'other agent', 'other owner', 'agent of nothing', 'nobody']) who;
select is(tests.sees(who, 'project-snapshots'), case when who in ('owner', 'editor', 'collaborator') then 'one' when who = 'other owner' then 'two' end, who || ' sees snapshots')
  from unnest(array['owner', 'editor', 'collaborator', 'agent', 'stranger', 'anon', 'other agent', 'other owner', 'agent of nothing', 'nobody']) who;
create function tests.uploads(who text, bucket text, name text) returns text language sql as $$
  select tests.code(who, format('with up as (insert into storage.objects (bucket_id, name) values (%L, %L)) select 1', bucket, name))
$$;
select is(tests.uploads(who, 'project-assets', tests.project('one') || '/' || encode(sha256(who::bytea), 'hex')), case when who in ('owner', 'editor', 'service') then 'ok' else '42501' end, who || ' uploads an asset')
  from unnest(array['owner', 'editor', 'collaborator', 'agent', 'service', 'stranger', 'anon', 'other agent', 'other owner', 'nobody']) who;
select is(tests.uploads('owner', 'project-assets', tests.project('one') || '/' || name), '42501', 'not under the name ' || name) from unnest(array['logo.png', repeat('A', 64), repeat('a', 64) || '/x', '../' || repeat('a', 64)]) name;
select is(tests.uploads(who, 'project-snapshots', tests.project('one') || '/2-y.zip'), case when who = 'service' then 'ok' else '42501' end, who || ' uploads a snapshot')
  from unnest(array['owner', 'editor', 'collaborator', 'agent', 'service', 'stranger', 'anon']) who;
select is(tests.run_as(who, 'with gone as (delete from storage.objects returning 1) select count(*) from gone'), '0', who || ' deletes nothing')
  from unnest(array['owner', 'editor', 'collaborator', 'agent', 'stranger', 'anon']) who;
select is(tests.run_as(who, 'with changed as (update storage.objects set name = ''x'' returning 1) select count(*) from changed'), '0', who || ' changes nothing')
  from unnest(array['owner', 'editor', 'collaborator', 'agent', 'stranger', 'anon']) who;
select * from finish();
rollback;
