# pgTAP. The files of supabase/tests may run in any database: each is one transaction that is rolled back. Those of
# tests/db/database commit, so that revisions and events follow each other; each has a database of its own.
if hosted_database migrated && migrate migrated; then
  for file in "$root"/supabase/tests/database/*.test.sql; do run_tap "$file" migrated; done
  ok "$(sql -At -d migrated -c "select to_regnamespace('tests') is null and not exists (select from projects)")" 'the files of supabase/tests leave nothing'
  sql -d migrated -f "$root/supabase/tests/helpers.psql"
  for file in "$tests"/database/*.test.sql; do
    sql -d postgres -c 'drop database if exists test' && "$bin/createdb" -T migrated test && run_tap "$file" test
  done
else
  failed=$((failed + 1))
fi
