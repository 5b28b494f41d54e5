# The Supabase CLI pushes the migrations to a legacy database that is in use: three writers and a reader never stop.
# PUSH_PROJECTS sets the number of projects, with 100 rows each (default 200; 2000 for 200,000 rows).
projects=${PUSH_PROJECTS:-200}
cli=$tests/node_modules/.bin/supabase
[ -x "$cli" ] || { ok false 'push: the Supabase CLI is missing (npm ci --prefix tests/db)'; return; }
push() {
  "$cli" db push --yes --workdir "$root" --db-url "postgresql://postgres:unused@127.0.0.1:$PGPORT/push?sslmode=disable" </dev/null 2>&1
}
ask_push() { sql -At -d push -c "$1"; }
in_use() { # runs a command while the writers and the reader work; sets `status`, `output`, `writers`
  local stop=$home/stop-$RANDOM
  "$bin/pgbench" -n -U postgres -c 3 -T 590 -D projects="$projects" -f "$tests/push/writer.pgbench" push >"$stop.writers" 2>&1 & local writer=$!
  (cd "$home" && exec "$bin/pgbench" -n -U postgres -c 1 -T 590 -l --log-prefix="$stop" -D projects="$projects" -f "$tests/push/reader.pgbench" push) >/dev/null 2>&1 & local reader=$!
  sleep 1
  output=$("$@"); status=$?
  sleep 1
  # Ended early, pgbench reports only the errors of its clients.
  kill $writer $reader 2>/dev/null; wait $writer $reader 2>/dev/null
  writers=$(grep -c 'error\|aborted' "$stop.writers")
  [ "$writers" = 0 ] || head -3 "$stop.writers"
  slowest=$(awk '$3 > max { max = $3 } END { printf "%d", max / 1000 }' "$stop".*[0-9])
}

if hosted_database push && sql -d push -c 'grant supabase_realtime_admin, supabase_storage_admin to postgres' &&
  sql -d push -U postgres -v projects="$projects" -f "$tests/push/dirty.sql"; then
  before=$(ask_push 'select count(*) from project_files')
  started=$SECONDS
  in_use push
  ok "$([ $status = 0 ] && echo true)" "push: the CLI applies every migration: $(tail -3 <<<"$output")"
  echo "push over $before rows in use: $((SECONDS - started)) s; the reader's slowest query $slowest ms"
  ok "$([ "$writers" = 0 ] && echo true)" 'push: no writer failed'
  in_use push
  ok "$([[ $status = 0 && $output == *'up to date'* ]] && echo true)" "push: a second push finds nothing to do: $(tail -3 <<<"$output")"
  in_use migrate push postgres
  ok "$([ $status = 0 ] && [ "$writers" = 0 ] && echo true)" "push: every migration again, in use: $(tail -3 <<<"$output")"
  sql -d push -f "$root/supabase/tests/helpers.psql"
  ok "$(ask_push 'select tests.table_is_consistent()')" 'push: digests, current rows and revisions are consistent'
  ok "$(ask_push "select count(*) > $before from project_files")" 'push: no row is lost, and the writers wrote'
  ok "$(ask_push "select bool_and(content_hash = encode(sha256(convert_to(content, 'UTF8')), 'hex') and size = octet_length(content)) from project_files where content is not null and encoding = 'utf-8'")" 'push: every hash is that of its content'
  ok "$(ask_push "select not exists (select from pg_constraint where conrelid = 'project_files'::regclass and not convalidated)")" 'push: every constraint is validated'
  sql -d push -c 'revoke supabase_realtime_admin, supabase_storage_admin from postgres'
else
  ok false 'push: the legacy database'
fi
sql -d postgres -c 'drop database if exists push'
