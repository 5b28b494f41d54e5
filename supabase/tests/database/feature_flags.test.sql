-- Flags: off, a percentage, targets.
begin;
\ir ../helpers.psql
call tests.create_people_and_projects();
select no_plan();
select set_eq('select flag_key from feature_flags', array['FSYNC_USE_RPC', 'FSYNC_SERVER_BROADCASTS', 'FSYNC_SNAPSHOT_HYDRATION', 'FSYNC_BULK_GENERATION', 'FSYNC_KEEP_CLIENT_BROADCAST'], 'the five flags');
create function tests.enabled(flag text, who text default null, caller text default 'owner') returns text language sql as $$
  select tests.run_as(caller, format('select public.is_feature_enabled(%L%s)', flag, coalesce(', ' || quote_literal(tests.person(who)), '')))
$$;
select is(tests.enabled('FSYNC_USE_RPC'), 'true', 'on for everybody');
select is(tests.enabled('FSYNC_KEEP_CLIENT_BROADCAST'), 'false', 'off for everybody');
select is(tests.enabled('NEVER_HEARD_OF'), 'false', 'a flag that does not exist is off');
select is(tests.enabled(null), 'false', 'nor does no flag');
insert into feature_flags (flag_key, is_enabled, rollout_percentage, target_user_ids) values ('HALF', true, 50, array[tests.person('target')]), ('OFF', false, 100, array[tests.person('target')]), ('NONE', true, 0, null);
select is(tests.enabled('HALF', 'target'), 'true', 'a target is on');
select is(tests.enabled('OFF', 'target'), 'false', 'off is off, for targets too');
select is(tests.enabled('NONE', 'somebody'), 'false', '0 per cent is nobody');
select ok(count(*) filter (where tests.enabled('HALF', n::text) = 'true') between 400 and 600, 'half is about half') from generate_series(1, 1000) n;
select ok(bool_and(tests.enabled('HALF', n::text) = tests.enabled('HALF', n::text, 'service')), 'the same subject falls on the same side') from generate_series(1, 50) n;
create table tests.before as select n, tests.enabled('HALF', n::text) as was from generate_series(1, 200) n;
update feature_flags set rollout_percentage = 70 where flag_key = 'HALF';
select ok(bool_and(was = 'false' or tests.enabled('HALF', n::text) = 'true'), 'a rising percentage turns nobody off') from tests.before;
update feature_flags set target_user_ids = array[tests.person('owner')], rollout_percentage = 0 where flag_key = 'HALF';
select is(tests.enabled('HALF', null, who), (who = 'owner')::text, 'without a person it is the caller: ' || who) from unnest(array['owner', 'editor', 'service']) who;
select throws_ok('update feature_flags set rollout_percentage = 101', '23514', null, 'no more than all');
select throws_ok($$insert into feature_flags (flag_key) values ('HALF')$$, '23505', null, 'one flag of a name');
select is(tests.run_as('owner', 'select count(*) from public.feature_flags'), '42501 permission denied for table feature_flags', 'people ask the function');
select * from finish();
rollback;
