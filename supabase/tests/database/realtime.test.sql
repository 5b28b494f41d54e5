-- Who may join and send on the private topics, asked as Realtime asks: a row with topic and extension, under role and claims.
begin;
\ir ../helpers.psql
call tests.create_people_and_projects();
select no_plan();
create function tests.may_read(who text, topic text, extension text default 'broadcast') returns boolean language plpgsql as $$
declare
  seen text;
begin
  insert into realtime.messages (topic, extension) values (topic, extension);
  perform set_config('realtime.topic', topic, true);
  seen := tests.run_as(who, format('select count(*) from realtime.messages where topic = %L and extension = %L', topic, extension));
  delete from realtime.messages;
  return seen <> '0';
end $$;
create function tests.may_send(who text, topic text, extension text default 'broadcast') returns boolean language plpgsql as $$
declare
  sent text;
begin
  perform set_config('realtime.topic', topic, true);
  sent := tests.code(who, format('with sent as (insert into realtime.messages (topic, extension) values (%L, %L)) select ''sent''', topic, extension));
  delete from realtime.messages;
  return sent = 'ok';
end $$;
create table tests.topics as select 'project:' || tests.project('one') as project, 'project:' || tests.project('one') || ':status' as status, 'project:' || tests.project('two') as other;
create table tests.wanted (who text, reads boolean, sends boolean, sends_status boolean);
insert into tests.wanted values ('owner', true, false, false), ('editor', true, false, false), ('collaborator', true, false, false), ('agent', true, false, true),
  ('stranger', false, false, false), ('anon', false, false, false), ('other agent', false, false, false), ('other owner', false, false, false),
  ('agent of nothing', false, false, false), ('nobody', false, false, false), ('person without sub', false, false, false);
select is(tests.may_read(who, project), reads, who || ' joins the project''s topic') from tests.wanted, tests.topics;
select is(tests.may_read(who, status), reads, who || ' joins the status topic') from tests.wanted, tests.topics;
select is(tests.may_read(who, other), who in ('other agent', 'other owner'), who || ' joins the other project''s topic') from tests.wanted, tests.topics;
select is(tests.may_send(who, project), sends, who || ' sends on the project''s topic') from tests.wanted, tests.topics;
select is(tests.may_send(who, status), sends_status, who || ' sends on the status topic') from tests.wanted, tests.topics;
select is(tests.may_send(who, other), false, who || ' sends on the other project''s topic') from tests.wanted, tests.topics;
select is(tests.may_read(who, t), false, format('%s joins %L', who, t)) from unnest(array['agent', 'owner']) who, tests.topics,
  unnest(array['', 'project:', 'project:*', 'project', upper(project), project || ' ', project || ':status:x', 'x' || project, replace(project, '-', '')]) t;
select is(tests.may_read(who, project, 'presence') or tests.may_send('agent', status, 'presence'), false, who || ' and presence') from unnest(array['agent', 'owner']) who, tests.topics;

-- Client broadcasts only where the flag is on, and only by who writes.
update feature_flags set is_enabled = true, target_user_ids = array[tests.person('editor'), tests.person('collaborator'), tests.person('stranger')] where flag_key = 'FSYNC_KEEP_CLIENT_BROADCAST';
select is(tests.may_send(who, project), who = 'editor', who || ' sends where the flag names people') from tests.wanted, tests.topics;
update feature_flags set rollout_percentage = 100 where flag_key = 'FSYNC_KEEP_CLIENT_BROADCAST';
select is(tests.may_send(who, project), who in ('owner', 'editor'), who || ' sends where the flag is on') from tests.wanted, tests.topics;
select is(tests.may_send(who, status), who = 'agent', who || ' still does not speak for the agent') from tests.wanted, tests.topics;
-- The project that is gone.
delete from projects where id = tests.project('one');
select is(tests.may_read(who, project), false, who || ' joins a topic without project') from tests.wanted, tests.topics;
select * from finish();
rollback;
