# pgTAP: each file in a database of its own, made from one that has the migrations.
if hosted_database migrated && migrate migrated && sql -d migrated -f "$tests/helpers.sql"; then
  for file in "$tests"/database/*.test.sql; do
    sql -d postgres -c 'drop database if exists test' && "$bin/createdb" -T migrated test && run_tap "$file" test
  done
else
  failed=$((failed + 1))
fi
