-- Who may do what: every function and every policy, for everybody.
begin;
\ir ../helpers.psql
call tests.create_people_and_projects();
select no_plan();
select tests.run_as('owner', format('select public.upsert_project_file(%L, ''a.txt'', ''A'', ''text'')', tests.project('one')));
select tests.run_as('other owner', format('select public.upsert_project_file(%L, ''b.txt'', ''B'', ''text'')', tests.project('two')));
insert into storage.objects (bucket_id, name) values
  ('project-assets', tests.project('one') || '/' || repeat('a', 64)), ('project-assets', tests.project('two') || '/' || repeat('b', 64)),
  ('project-snapshots', tests.project('one') || '/1-x.zip'), ('project-snapshots', tests.project('two') || '/1-y.zip'),
  ('project-assets', 'no-project/x');

create table tests.people (who text, reads boolean, writes boolean);
insert into tests.people values ('owner', true, true), ('editor', true, true), ('collaborator', true, false), ('agent', true, false),
  ('service', true, true), ('stranger', false, false), ('anon', false, false), ('other agent', false, false), ('other owner', false, false),
  ('agent of nothing', false, false), ('nobody', false, false), ('person without sub', false, false), ('person with a bad sub', false, false);
grant select on tests.people to public;

-- The functions.
select is(tests.code(who, format(call, tests.project('one'))), case when reads then 'ok' else '42501' end, format('%s: %s', who, call))
  from tests.people, unnest(array[
    'select public.project_head(%L)', 'select public.list_project_changes(%L, 0)',
    'select public.get_project_file(%L, ''a.txt'', 1)', 'select public.list_current_files(%L)']) call;
select is(tests.code(who, format(call, tests.project('one'))), case when writes then 'ok' else '42501' end, format('%s: %s', who, call))
  from tests.people, unnest(array[
    'select public.upsert_project_file(%L, ''c.txt'', ''C'', ''text'')', 'select public.delete_project_file(%L, ''c.txt'')',
    'select public.bulk_upsert_project_files(%L, ''[{"file_path": "d.txt", "content": "D"}]'')',
    'select public.bulk_delete_project_files(%L, ''{d.txt}'')',
    'select public.register_project_asset(%L, ''e.png'', ''image'', repeat(''a'', 64), 1)']) call;
select is(tests.code(who, format('select public.prune_project_files(%L)', tests.project('one'))),
  case when who = 'service' then 'ok' else '42501' end, who || ' prunes') from tests.people;
select is(tests.code(who, 'select public.is_feature_enabled(''FSYNC_USE_RPC'')'),
  case when tests.claims(who)->>'role' in ('anon', 'preview_agent') then '42501' else 'ok' end, who || ' asks for a flag') from tests.people;

-- A project that is not there: nobody's, and the service is told.
select is(tests.code(who, format(call, tests.project('never'))), case when who = 'service' then 'PT404' else '42501' end, format('%s, no project: %s', who, call))
  from tests.people, unnest(array['select public.project_head(%L)', 'select public.list_project_changes(%L, 0)',
    'select public.upsert_project_file(%L, ''c.txt'', ''C'', ''text'')', 'select public.bulk_upsert_project_files(%L, ''[{"file_path": "d.txt", "content": "D"}]'')']) call;
select is(tests.code('owner', format('select public.project_head(%L)', null)), '42501', 'no project at all');

-- Claims alone say who: the role that runs the statement adds nothing.
select is(tests.as_role('service_role', null, format('select public.project_head(%L)', tests.project('one'))), '42501 no right to this project', 'a role without claims');
select is(left(tests.as_role('postgres', null, format('select public.project_head(%L)', tests.project('one'))), 5), '42501', 'not even the functions'' owner');
select throws_ok(format('set role anon; select public.project_head(%L)', tests.project('one')), '42501', null, 'anon may not execute'); reset role;

-- The table itself, through row-level security.
select is(tests.run_as(who, 'select count(*) from public.project_files'),
  case when who = 'service' then (select count(*)::text from project_files) when who in ('nobody', 'person without sub', 'person with a bad sub', 'stranger', 'agent of nothing') then '0'
    when who in ('other owner', 'other agent') then '1' when reads then (select count(*)::text from project_files where project_id = tests.project('one'))
    else '42501 permission denied for table project_files' end, who || ' sees rows') from tests.people;
select is(tests.run_as(who, 'select string_agg(file_path, '','' order by file_path) from public.project_files_current'),
  case when who = 'service' then 'a.txt,b.txt,e.png' when who in ('other owner', 'other agent') then 'b.txt' when reads then 'a.txt,e.png'
    when who = 'anon' then '42501 permission denied for view project_files_current' end, who || ' sees current files') from tests.people;
select is(tests.code(who, format('insert into public.project_files (project_id, file_path, content) values (%L, ''raw.txt'', %L) returning 1', tests.project('one'), who)),
  case when writes then 'ok' else '42501' end, who || ' inserts') from tests.people;
select is(tests.run_as(who, format('with u as (update public.project_files set content = %L where project_id = %L and file_path = ''a.txt'' and is_current_version returning 1) select count(*) from u', who, tests.project('one'))),
  case when writes then '1' when who in ('anon', 'agent', 'other agent', 'agent of nothing') then '42501 permission denied for table project_files' else '0' end, who || ' updates') from tests.people;
select is(tests.run_as(who, format('with d as (delete from public.project_files where project_id = %L returning 1) select count(*) from d', tests.project('one'))),
  case when who in ('anon', 'agent', 'other agent', 'agent of nothing') then '42501 permission denied for table project_files' else '0' end, who || ' deletes') from tests.people
  where not writes;
select is(tests.code('owner', format('update public.project_files set project_id = %L where project_id = %L returning 1', tests.project('two'), tests.project('one'))), '0A000', 'no file moves to another project');
select is(tests.code(who, 'truncate public.project_files'), case when who = 'service' then '0A000' else '42501' end, who || ' truncates') from tests.people;

-- Who wrote a row is not the writer's to say.
select is(tests.run_as('editor', format('insert into public.project_files (project_id, file_path, content, created_by, last_modified_by) values (%L, ''forged.txt'', ''x'', %2$L, %2$L) returning created_by', tests.project('one'), tests.person('owner'))), tests.person('editor')::text, 'nobody writes in another''s name');

-- Members and projects.
select is(tests.code(who, format('insert into public.project_members values (%L, %L, ''editor'') returning 1', tests.project('one'), tests.person('stranger'))),
  case when who in ('owner', 'service') then 'ok' else '42501' end, who || ' adds an editor') from tests.people where who <> 'service';
delete from project_members where user_id = tests.person('stranger');
select is(tests.code(who, format('update public.project_members set role = ''editor'' where user_id = %L returning 1', tests.person('collaborator'))),
  case when who in ('anon', 'agent', 'other agent', 'agent of nothing') then '42501' else 'ok' end, who || ' promotes') from tests.people where who not in ('owner', 'service');
select is((select role from project_members where user_id = tests.person('collaborator')), 'collaborator', 'nobody promoted anybody');
select is(tests.run_as(who, 'select string_agg(name, '','' order by name) from public.projects'),
  case when who = 'service' then 'one,two' when who = 'other owner' then 'two' when who in ('owner', 'editor', 'collaborator') then 'one'
    when who in ('anon', 'agent', 'other agent', 'agent of nothing') then '42501 permission denied for table projects' end, who || ' sees projects') from tests.people;
select is(tests.run_as('stranger', format('insert into public.projects (name, owner_id) values (''mine'', %L) returning name', tests.person('stranger'))), 'mine', 'anybody makes projects');
select is(tests.code('stranger', format('insert into public.projects (name, owner_id) values (''gift'', %L)', tests.person('owner'))), '42501', 'but only their own');

-- The editor who is one no longer, and the person who is gone.
delete from project_members where user_id = tests.person('editor');
select is(tests.code('editor', format('select public.upsert_project_file(%L, ''a.txt'', ''late'', ''text'')', tests.project('one'))), '42501', 'no editor any more');
delete from user_profiles where id = tests.person('editor');
select ok((select count(*) > 0 from project_files where project_id = tests.project('one')), 'a person''s leaving takes no file along');

-- The rest of the schema is closed.
select is(tests.code(who, 'select project_sync.lock_revision(''00000000-0000-0000-0000-000000000000'')'), '42501', who || ' has no way into project_sync') from tests.people;
select is(tests.code(who, 'select * from project_sync.settings'), '42501', who || ' reads no setting') from tests.people;
select is(tests.code(who, 'update public.feature_flags set is_enabled = false returning 1'), case when who = 'service' then 'ok' else '42501' end, who || ' turns flags') from tests.people;

select ok(tests.table_is_consistent(), 'digest, current rows and revisions hold');
select * from finish();
rollback;
