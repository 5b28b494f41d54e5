-- Preview sessions: who opens, sees, ends and renews them.
call tests.create_people_and_projects();
select no_plan();
create function tests.open(who text, project text default 'one', another boolean default false) returns jsonb language sql as $$
  select case when result ~ '^[0-9A-Z]{5} ' then jsonb_build_object('code', left(result, 5)) else result::jsonb end
    from (select tests.run_as(who, format('select public.open_preview_session(%L, %L)', tests.project(project), another)) as result) r
$$;
create table tests.opened as select who, tests.open(who) as session from unnest(array['owner', 'editor', 'collaborator']) who;
select is((session->>'state') || (session->>'go'), 'startingtrue', 'who reads the project opens a session: ' || who) from tests.opened;
select is(tests.open(who)->>'code', '42501', 'others do not: ' || who) from unnest(array['stranger', 'anon', 'agent', 'person without sub']) who;
select is(tests.open('owner', 'none')->>'code', '42501', 'nor of a project that is not there');
select is(tests.open('owner')->>'session_id', session->>'session_id', 'opened twice it is one') from tests.opened where who = 'owner';
select is(tests.open('owner')->>'go', 'false', 'and one caller starts its machine');
select isnt(tests.open('owner', 'one', true)->>'session_id', session->>'session_id', 'unless another is asked for') from tests.opened where who = 'owner';
select is(tests.open('owner', 'one', true)->>'code', null, 'and another');
select is(tests.open('owner', 'one', true)->>'code', null, 'and another');
select is(tests.open('owner', 'one', true)->>'code', null, 'and another');
select is(tests.open('owner', 'one', true)->>'code', 'PT429', 'but not without end');
update public.preview_sessions set lease_until = now() - interval '1 second' where id = (select (session->>'session_id')::uuid from tests.opened where who = 'owner');
select is(tests.open('owner')->>'go', 'true', 'a start that was given up is taken over');
select is(tests.open('owner')->>'go', 'false', 'by one caller');
create function tests.claim(who text, another boolean, claim uuid) returns jsonb language sql as $$
  select tests.run_as(who, format('select public.open_preview_session(%L, %L, %L)', tests.project('two'), another, claim))::jsonb
$$;
create table tests.lost as select another, made, tests.claim('other owner', another, made) as first, tests.claim('other owner', another, made) as again
  from (values (false, gen_random_uuid()), (true, gen_random_uuid())) asked(another, made);
select is(again, first, 'a call made again with its claim is told the same') from tests.lost;
select is(again->>'go', 'true', 'and goes on') from tests.lost;
select is((first->>'lease_seconds')::integer, 120, 'for as long as the settings say') from tests.lost limit 1;
update feature_flags set is_enabled = false where flag_key = 'FSYNC_SNAPSHOT_HYDRATION';
select is(tests.open('owner')->>'code', 'PT403', 'the flag closes it');
update feature_flags set is_enabled = true where flag_key = 'FSYNC_SNAPSHOT_HYDRATION';

create function tests.of(who text) returns uuid language sql as $$ select (session->>'session_id')::uuid from tests.opened o where o.who = $1 $$;
select is(tests.run_as('editor', 'select count(*) from public.preview_sessions'), '1', 'one sees one''s own');
select is(tests.run_as('stranger', 'select count(*) from public.preview_sessions'), '0', 'and no other''s');
select is(tests.code(who, 'select count(*) from public.preview_sessions'), '42501', 'the table is closed to ' || who) from unnest(array['anon', 'agent']) who;
select is(tests.code('editor', 'update public.preview_sessions set state = state'), '42501', 'nobody writes it');
select is(tests.code(who, format('select public.preview_session(%L)', tests.of('editor'))), case who when 'editor' then 'ok' else 'PT404' end, 'status, asked by ' || who)
  from unnest(array['editor', 'owner', 'stranger']) who;
select is(tests.code(who, call), '42501', who || ' does not call ' || call) from unnest(array['owner', 'agent', 'anon']) who, unnest(array[
  format('select public.renew_preview_session(%L, %L)', tests.of('editor'), tests.project('one')),
  format('select public.preview_session_started(%L, %L, %L, %L)', tests.of('editor'), 'p', 'm', 'u'),
  format('select public.preview_session_gone(%L)', tests.of('editor')),
  format('select public.restart_preview_session(%L, %L)', tests.of('editor'), gen_random_uuid()),
  'select public.sweep_preview_sessions(1)', 'select public.live_preview_sessions(array[]::uuid[])']) call;

create function tests.renew(who text, project text default 'one') returns text language sql as $$
  select tests.run_as('service', format('select public.renew_preview_session(%L, %L)', tests.of(who), tests.project(project)))
$$;
select is(tests.renew('editor'), 'live', 'a live session renews');
select is(tests.renew('editor', 'two'), 'unknown', 'not for another project');
delete from public.project_members where user_id = tests.person('editor');
select is(tests.renew('editor'), 'no_right', 'not without its owner''s right');
select is(tests.code('editor', format('select public.preview_session(%L)', tests.of('editor'))), 'PT404', 'who lost the project sees no session of it');
select is(tests.code('stranger', format('select public.end_preview_session(%L)', tests.of('collaborator'))), 'PT404', 'a stranger ends nothing');
select is(tests.code('owner', format('select public.end_preview_session(%L)', tests.of('collaborator'))), 'ok', 'who writes the project ends its sessions');
select is(tests.renew('collaborator'), 'ended', 'over, it does not renew');
select is(tests.run_as('service', format('select public.preview_session_started(%L, %L, %L, %L)', tests.of('collaborator'), 'p', 'm', 'u')), 'false', 'nor start');
select isnt(tests.open('collaborator')->>'session_id', tests.of('collaborator')::text, 'and opened again it is a new one');

select is(tests.run_as('service', format('select public.preview_session_started(%L, %L, %L, %L)', tests.of('owner'), 'p', 'm', 'u')), 'true', 'started');
create function tests.restart(claim uuid) returns jsonb language sql as $$
  select tests.run_as('service', format('select public.restart_preview_session(%L, %L)', tests.of('owner'), claim))::jsonb
$$;
create table tests.restarted as select made, tests.restart(made)->>'go' as go from (select gen_random_uuid() as made from generate_series(1, 3)) made;
select is(count(*) filter (where go = 'true'), 1::bigint, 'a machine that died is started again by one caller') from tests.restarted;
select is(tests.restart(made)->>'go', 'true', 'who asks again with its claim is told the same') from tests.restarted where go = 'true';
select is(tests.open('owner')->>'state', 'starting', 'others see it starting');
select is(tests.run_as('service', format('select public.preview_session_started(%L, %L, %L, %L)', tests.of('owner'), 'p', 'm', 'u')), 'true', 'started again');
select is(tests.restart(gen_random_uuid())->>'go', 'true', 'and again');
create function tests.take_back(claim uuid) returns jsonb language sql as $$
  select tests.run_as('service', format('select public.end_preview_session(%L, %L, %L)', tests.of('owner'), 'late', claim))::jsonb
$$;
select is(tests.take_back(gen_random_uuid())->>'state', 'starting', 'whose claim it is no longer takes nothing back');
update public.preview_sessions set lease_until = now() - interval '1 second' where id = tests.of('owner');
select is(tests.open('owner')->>'go', 'true', 'a restart that was given up is taken over');
select is(tests.run_as('service', format('select public.preview_session_started(%L, %L, %L, %L)', tests.of('editor'), 'p', 'm', 'u')), 'false', 'who lost the project gets no machine');
select is(tests.run_as('service', format('select public.preview_session_started(%L, %L, %L, %L)', tests.of('owner'), 'p', 'm', 'u')), 'true', 'started at last');

create table tests.swept as select tests.run_as('service', 'select public.sweep_preview_sessions(1800)')::jsonb as due;
select set_eq('select one->>''reason'' from tests.swept, jsonb_array_elements(due) one', array['asked', 'no_right'], 'the sweep ends who lost the project, and gives what is still to be removed');
update public.preview_sessions set used_at = now() - interval '2 hours' where id = tests.of('owner');
select tests.run_as('service', 'select public.sweep_preview_sessions(1800)');
select is((select reason from public.preview_sessions where id = tests.of('owner')), 'idle', 'and what nobody uses');
insert into public.preview_sessions (project_id, owner_id, additional, lease_until)
  values (tests.project('one'), tests.person('owner'), true, now() - interval '119 seconds'), (tests.project('one'), tests.person('owner'), true, now() - interval '121 seconds');
select tests.run_as('service', 'select public.sweep_preview_sessions(1800)');
select is(count(*), 1::bigint, 'and what was never started, once nobody took it over for another lease') from public.preview_sessions where reason = 'never started';
select tests.run_as('service', format('select public.preview_session_gone(%L)', tests.of('owner')));
select is((select state from public.preview_sessions where id = tests.of('owner')), 'ended', 'removed, it is ended');
select is(jsonb_array_length(tests.run_as('service', format('select public.live_preview_sessions(%L)', array(select id from public.preview_sessions)))::jsonb),
  (select count(*)::integer from public.preview_sessions where ended_at is null), 'the live ones');
delete from public.projects where id = tests.project('one');
select is((select count(*) from public.preview_sessions where project_id = tests.project('one')), 0::bigint, 'they go with their project');
select * from finish();
