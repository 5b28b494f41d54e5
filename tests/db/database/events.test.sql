-- Events: what they say, what they leave out, and that nothing about them stops a save.
call tests.create_people_and_projects();
select no_plan();
create procedure tests.put(path text, body text, who text default 'owner') language plpgsql as $$
begin
  perform tests.run_as(who, format('select public.upsert_project_file(%L, %L, %L, ''typescript'')', tests.project('one'), path, body));
end $$;
create function tests.event(of_revision bigint) returns jsonb language sql as $$
  select payload - 'id' - 'timestamp' || jsonb_build_object('event', event) from tests.events('one') where revision = of_revision
$$;
call tests.put('src/App.tsx', 'hello');
select is(tests.event(1), jsonb_build_object('event', 'file:update', 'file_path', 'src/App.tsx', 'content', 'hello', 'version', 1, 'revision', 1, 'size', 5, 'encoding', 'utf-8',
  'content_hash', '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824', 'file_type', 'typescript', 'sender', tests.person('owner')), 'file:update');
select ok((select payload->>'timestamp' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$' from tests.events('one')), 'its timestamp is RFC 3339');
select ok((select private and extension = 'broadcast' and topic = 'project:' || tests.project('one') from realtime.messages), 'private, on the project''s topic');
select tests.run_as('service', format('select public.delete_project_file(%L, ''src/App.tsx'')', tests.project('one')));
select is(tests.event(2), '{"event": "file:delete", "file_path": "src/App.tsx", "version": 2, "revision": 2, "sender": "service_role"}', 'file:delete');
begin;
select tests.run_as('owner', format('select public.upsert_project_file(%L, ''a'', ''A'', ''text'')', tests.project('one')));
select tests.run_as('owner', format('select public.upsert_project_file(%L, ''b'', ''B'', ''text'')', tests.project('one')));
select tests.run_as('owner', format('select public.delete_project_file(%L, ''a'')', tests.project('one')));
commit;
select is(tests.event(3), jsonb_build_object('event', 'bulk:apply', 'revision', 3, 'count', 2, 'sender', tests.person('owner'), 'files',
  '[{"action": "delete", "file_path": "a", "version": 2}, {"action": "update", "file_path": "b", "version": 1, "size": 1, "encoding": "utf-8", "file_type": "text", "content": "B", "content_hash": "df7e70e5021544f4834bbee64a9e3789febc4be81470df629cad6ddb03320a5c"}]'::jsonb), 'bulk:apply');
insert into project_files (project_id, file_path, content) values (tests.project('one'), 'raw', 'r');
select is(tests.event(4)->>'sender', tests.person('owner')::text, 'the sender is of the transaction''s claims') where current_setting('request.jwt.claims', true) <> '';
select is(tests.event(4)->>'sender', 'database', 'a transaction without claims') where coalesce(current_setting('request.jwt.claims', true), '') = '';
insert into storage.objects (bucket_id, name) values ('project-assets', tests.project('one') || '/' || repeat('a', 64));
insert into project_files (project_id, file_path, content_hash, size) values (tests.project('one'), 'logo.png', repeat('a', 64), 10);
select is(tests.event(5) - 'sender', jsonb_build_object('event', 'file:update', 'file_path', 'logo.png', 'content', null, 'content_omitted', true, 'version', 1, 'revision', 5,
  'size', 10, 'encoding', 'base64', 'content_hash', repeat('a', 64), 'file_type', 'text'), 'content in storage is left out');

-- What is too large.
update project_sync.settings set event_content_bytes = 1000, event_max_bytes = 4000 where one_row;
call tests.put('large', repeat('x', 1001));
select is(tests.event(6) ->> 'content_omitted', 'true', 'content above the limit is left out');
call tests.put('fits', repeat('x', 1000));
select is(length(tests.event(7) ->> 'content'), 1000, 'at the limit it is there');
update project_sync.settings set event_content_bytes = 100000 where one_row;
call tests.put('escaped', repeat(E'\u0001', 900));
select is(tests.event(8) ->> 'content_omitted', 'true', 'what JSON makes of it counts');
update project_sync.settings set event_content_bytes = 1000 where one_row;
select tests.run_as('owner', format('select public.bulk_upsert_project_files(%L, ''[{"file_path": "m", "content": "%s"}, {"file_path": "n", "content": "%s"}, {"file_path": "o", "content": "%s"}]'')', tests.project('one'), repeat('m', 600), repeat('n', 300), repeat('o', 500)));
select is((select string_agg(concat(f->>'file_path', ':', f->>'content_omitted'), ' ' order by f->>'file_path') from jsonb_array_elements(tests.event(9)->'files') f), 'm:true n: o:', 'the smallest contents come along');
select tests.run_as('owner', format('select public.bulk_upsert_project_files(%L, (select jsonb_agg(jsonb_build_object(''file_path'', ''f'' || n, ''content'', repeat(''x'', 90))) from generate_series(1, 11) n))', tests.project('one')));
select is((select concat_ws('|', count(*), count(f->>'content_omitted')) from jsonb_array_elements(tests.event(10)->'files') f), '11|0', 'as many as fit');
select tests.run_as('owner', format('select public.bulk_upsert_project_files(%L, (select jsonb_agg(jsonb_build_object(''file_path'', ''g'' || n, ''content'', repeat(E''\u0001'', 50))) from generate_series(1, 15) n))', tests.project('one')));
select is((select concat_ws('|', count(*), count(f->>'content_omitted')) from jsonb_array_elements(tests.event(11)->'files') f), '15|15', 'none where the whole were too large');
select tests.run_as('owner', format('select public.bulk_upsert_project_files(%L, (select jsonb_agg(jsonb_build_object(''file_path'', ''h'' || n, ''content'', n)) from (select n::text from generate_series(1, 40) n) n))', tests.project('one')));
select is(tests.event(12) - 'sender', '{"event": "bulk:apply", "revision": 12, "count": 40, "files": [], "files_omitted": true}', 'no list where the list is too large');
select ok(max(octet_length(payload::text)) <= 4000 + 300, 'no event is larger than the setting and its envelope') from tests.events('one');

-- The switch.
update feature_flags set is_enabled = false where flag_key = 'FSYNC_SERVER_BROADCASTS';
call tests.put('silent', 'x');
select is(concat_ws('|', tests.head('one'), (select max(revision) from tests.events('one'))), '13|12', 'switched off: saved, not sent');
update feature_flags set is_enabled = true, rollout_percentage = 0, target_user_ids = array[tests.project('one')] where flag_key = 'FSYNC_SERVER_BROADCASTS';
call tests.put('loud', 'x');
select is((select max(revision) from tests.events('one')), 14::bigint, 'or on for this project');

-- What stands in the way of an event does not stand in the way of a save.
alter table realtime.messages add constraint no_more check (false) not valid;
call tests.put('refused', 'x');
select is(concat_ws('|', tests.head('one'), (select max(revision) from tests.events('one'))), '15|14', 'the event''s table refuses it: saved');
alter function realtime.send(jsonb, text, text, boolean) rename to sent;
call tests.put('renamed', 'x');
select is(tests.head('one'), 16::bigint, 'no such function: saved');
create function realtime.send(payload jsonb, event text, topic text, private boolean) returns void language plpgsql as $$ begin raise exception 'out of order'; end $$;
call tests.put('failing', 'x');
select is(tests.head('one'), 17::bigint, 'a function that fails: saved');
create or replace function realtime.send(payload jsonb, event text, topic text, private boolean) returns void language plpgsql as
  $$ begin create table if not exists tests.seen as select current_setting('lock_timeout') as lock_timeout; end $$;
grant create on schema tests to public;
set lock_timeout = '7s';
update project_sync.settings set event_lock_timeout_ms = 123 where one_row;
call tests.put('timed', 'x');
select is((select lock_timeout from tests.seen), '123ms', 'it waits by a setting of its own');
select is(current_setting('lock_timeout'), '7s', 'which ends with it');
drop schema realtime cascade;
call tests.put('alone', 'x');
select is(tests.head('one'), 19::bigint, 'no realtime schema at all: saved');
select ok(tests.digest_matches(), 'the digest holds');
select * from finish();
