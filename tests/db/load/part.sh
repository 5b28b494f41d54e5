# Many at once, large things, and how long reads take. Times are printed, never asserted.
seconds=${LOAD_SECONDS:-30}
measured=4
bench() { "$bin/pgbench" -n -M "${mode:-prepared}" -j 2 "$@" load 2>&1; }
ask() { sql -At -d load -c "$1"; }
tps() { sed -n 's/^tps = \([0-9]*\).*/\1/p'; }
as_writer="begin; select set_config('role', 'authenticated', true), set_config('request.jwt.claims', '{\"role\": \"authenticated\", \"sub\": \"' || tests.person('writer 1') || '\"}', true);"

hosted_database load && migrate load && sql -d load -f "$root/supabase/tests/helpers.psql" -f "$tests/load/setup.sql" || { ok false 'load: setup'; return; }
for n in 1 2 3; do ask "call tests.delete_and_make($n)"; done

# 16 writers on one project, with no-ops, conflicts, rollbacks, deletes, bulks, raw rows, and projects deleted beside them.
ask "select pg_create_logical_replication_slot('log', 'test_decoding')" >/dev/null
output=$(mode=simple bench -T "$seconds" -c 16 -f "$tests/load/mixed.pgbench"); status=$?
ok "$([ $status = 0 ] && echo true)" "mixed: $(grep -m3 'error\|aborted' <<<"$output")"
echo "16 writers, mixed, $seconds s: $(tps <<<"$output") a second; $(ask "select string_agg(outcome || ' ' || n, ', ' order by n desc) from (select outcome, count(*) n from tests.outcomes group by 1) o"); head $(ask "select tests.head('load 0')")"
ok "$(ask 'select tests.table_is_consistent()')" 'mixed: digest, current rows and revisions hold'
ok "$(ask "select count(distinct outcome) = 4 from tests.outcomes where outcome in ('done', 'PT409', 'PT404', 'one state')")" 'mixed: saves, conflicts, what is gone, and reads of one state all happened'
# The log of commits is what Realtime reads.
ok "$(ask "with sent as (select row_number() over () as n, substring(data from '\"revision\": ([0-9]+)')::bigint as revision
    from pg_logical_slot_peek_changes('log', null, null) where data like 'table realtime.messages: INSERT:%' and data like '%project:' || tests.project('load 0') || '''%')
  select bool_and(n = revision) and count(*) = tests.head('load 0') from sent")" 'mixed: events arrive dense and in the order of revisions'
ok "$(ask "select not exists (select from public.project_files group by project_id, revision having count(*) = 0) and
  (select count(distinct revision) from (select revision from public.project_files where project_id = tests.project('load 0') union
    select superseded_revision from public.project_files where project_id = tests.project('load 0') and superseded_revision is not null) r) = tests.head('load 0')")" 'mixed: every revision has its rows'
ok "$(ask "select deadlocks = 0 from pg_stat_database where datname = 'load'")" 'mixed: no deadlock'
ask "select pg_drop_replication_slot('log')" >/dev/null

# How fast. A project's writers follow one another through the flush of each commit, so a slow disk shows. Sent in four
# messages, as an API server does it, a project also waits for its client between the save and the commit; sent in one, it
# does not. What the client itself takes is what transactions without a save say.
echo "transactions that save nothing, a second: 1 client $(bench -T 2 -c 1 -f "$tests/load/nothing.pgbench" | tps), 16 $(bench -T 2 -c 16 -f "$tests/load/nothing.pgbench" | tps)"
for flush in on off; do
  ask "alter role $PGUSER set synchronous_commit = $flush"
  echo "saves of 2 KB, synchronous_commit $flush, a second: 1 client $(bench -T $measured -c 1 -D project=1 -f "$tests/load/save.pgbench" | tps)," \
    "16 on one project $(bench -T $measured -c 16 -D project=2 -f "$tests/load/save.pgbench" | tps)," \
    "16 on one project in one message $(mode=simple bench -T $measured -c 16 -D project=2 -f "$tests/load/save_at_once.pgbench" | tps)," \
    "16 over 50 projects $(bench -T $measured -c 16 -f "$tests/load/spread.pgbench" | tps)"
done
ask "alter role $PGUSER reset synchronous_commit"
ok "$(ask 'select tests.table_is_consistent()')" 'fast: sound'

# Older code that updates rows in place locks the row before the project: it may lose to a writer of the same file, and tries again.
output=$(mode=simple bench -T 3 -c 8 --max-tries=100 -f "$tests/load/legacy_updates.pgbench"); status=$?
ok "$([ $status = 0 ] && ask 'select tests.table_is_consistent()')" "older code beside the functions: $(grep -m3 'error\|aborted' <<<"$output")"
ok "$(ask "select tests.events_are_dense('load 60')")" 'older code beside the functions: events are dense'

# A session that runs a statement and stays in its transaction until it is let go.
hold() {
  coproc HOLDER { sql -At -d load 2>&1; }
  echo "begin; $1; \\echo held" >&"${HOLDER[1]}"
  local line=
  until [ "$line" = held ]; do read -r line <&"${HOLDER[0]}" || return; done
}
let_go() { echo 'commit; \q' >&"${HOLDER[1]}"; wait "$HOLDER_PID"; }

# Projects do not wait for each other: one is held, the others go on, and only who wants the same one waits.
hold "${as_writer#begin; } select upsert_project_file(tests.project('load 10'), 'a', 'held', 'text')"
waited=0
for n in $(seq 11 60); do
  ask "set lock_timeout = '5s'; $as_writer select upsert_project_file(tests.project('load $n'), 'b', 'free', 'text'); commit" >/dev/null || waited=$((waited + 1))
done
ok "$([ $waited = 0 ] && echo true)" '50 projects: none waits for another'
refused=$(ask "set lock_timeout = '100ms'; $as_writer select upsert_project_file(tests.project('load 10'), 'b', 'waits', 'text'); commit" 2>&1)
ok "$([[ $refused == *'the project is locked by another write'* && $refused == *retry_after_ms* ]] && echo true)" '50 projects: a write of the same project waits two seconds, then gets an error that names the project'
# A person without the right waits for nothing.
refused=$(ask "set lock_timeout = '2s'; begin; select set_config('role', 'authenticated', true), set_config('request.jwt.claims', tests.claims('stranger')::text, true);
  insert into public.project_files (project_id, file_path, is_deleted) values (tests.project('load 10'), 'missing.txt', true); commit" 2>&1)
ok "$([[ $refused == *'no right to this project'* ]] && echo true)" "a stranger's insert is rejected while the project is locked: $refused"
let_go

# Parallel calls do not pass the limit of sessions.
bench -t 1 -c 20 -f "$tests/load/open_sessions.pgbench" >/dev/null
ok "$(ask "select count(*) = 5 from preview_sessions where owner_id = tests.person('writer 63') and ended_at is null")" 'twenty parallel calls open five sessions'

# The event's table is locked: the save stands, the event is lost with a warning, and no timeout is hit.
hold 'lock table realtime.messages in access exclusive mode'
said=$(ask "set statement_timeout = '20s'; $as_writer select version = 1 from upsert_project_file(tests.project('load 10'), 'locked', 'out', 'text'); commit" 2>&1)
ok "$([[ $said == *'lock timeout'* ]] && ask "select version = 1 from project_files where project_id = tests.project('load 10') and file_path = 'locked'")" 'locked events: the save stands'
let_go

# 5 MB, saved and read back.
milliseconds() { local start; start=$(date +%s%N); "$@" >/dev/null; echo $((($(date +%s%N) - start) / 1000000)); }
echo "a file of 5 MB: saved in $(milliseconds ask "$as_writer select version from upsert_project_file(tests.project('load 11'), 'five', (select string_agg(md5(n::text), '') from generate_series(1, 163840) n), 'text'); commit") ms"
ok "$(ask "select tests.run_as('service', format('select encode(sha256(convert_to(f->>''content'', ''UTF8'')), ''hex'') = f->>''content_hash'' and length(f->>''content'') = 5242880 from public.get_project_file(%L, ''five'', 1) f', tests.project('load 11')))")" '5 MB: read back whole'
ok "$(ask "select payload->>'content_omitted' from tests.events('load 11') where payload->>'file_path' = 'five'")" '5 MB: the event leaves it out'

# Bulks of 10,000 until there are 10,000 files and 100,000 versions.
ask "insert into projects (id, owner_id) values (tests.project('large'), tests.person('writer 1'))"
for round in 1 2 3 4 5 6 7 8 9 10; do
  took=$(milliseconds ask "$as_writer select bulk_upsert_project_files(tests.project('large'), (select jsonb_agg(jsonb_build_object('file_path', 'src/' || n % 100 || '/file-' || n || '.ts', 'content', repeat(md5(n || '/' || $round), 16))) from generate_series(1, 10000) n)); commit")
  case $round in 1) echo "bulk of 10,000 new files: $took ms" ;; 10) echo "bulk of 10,000 over nine versions each: $took ms" ;; esac
done
ok "$(ask "select count(*) = 100000 and count(*) filter (where is_current_version) = 10000 from project_files where project_id = tests.project('large')")" '10,000 files, 100,000 versions'
# Then 500 single saves, so that there are small numbers of changes to ask for.
ask "do \$\$ begin for i in 1..500 loop perform tests.run_as('writer 1', format('select upsert_project_file(%L, %L, %L, ''text'')', tests.project('large'), 'src/' || i % 100 || '/file-' || i || '.ts', repeat(md5(i::text), 16))); commit; end loop; end \$\$"
ask 'vacuum analyze'
echo "project_head: median $(ask "select tests.median_ms(format('select public.project_head(%L)', tests.project('large')), 300)") ms"
for changes in 0 10 50 500; do
  echo "list_project_changes of $changes: median $(ask "select tests.median_ms(format('select public.list_project_changes(%L, %s)', tests.project('large'), tests.head('large') - $changes), 100)") ms"
done
echo "list_project_changes from 0 without content, 10,000 rows: median $(ask "select tests.median_ms(format('select public.list_project_changes(%L, 0, 10000, false)', tests.project('large')), 5)") ms"
echo "full recomputation of the digest: $(milliseconds ask "select project_sync.recomputed_digest(tests.project('large'))") ms"
echo 'plans of project_head, and of list_project_changes of 50 changes:'
plans=$(sql -d load 2>&1 <<'SQL'
load 'auto_explain';
select set_config('request.jwt.claims', '{"role": "service_role"}', false) \g /dev/null
select public.list_project_changes(tests.project('large'), tests.head('large') - 50) from generate_series(1, 8) \g /dev/null
set client_min_messages = notice;
set auto_explain.log_level = notice; set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on; set auto_explain.log_analyze = on;
select public.project_head(tests.project('large')) \g /dev/null
select public.list_project_changes(tests.project('large'), tests.head('large') - 50) \g /dev/null
SQL
)
grep -E 'Scan.* on (project_files|counters)' <<<"$plans" | sed 's/^ */  /; s/(cost[^)]*) //'
ok "$(grep -qE 'project_files_sync_revision' <<<"$plans" && ! grep -qE 'Seq Scan on (project_files|counters)' <<<"$plans" && echo true)" 'plans: by the index of revisions, never the whole table'
ok "$(ask 'select tests.table_is_consistent()')" 'large: sound'
