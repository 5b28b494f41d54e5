# The migrations on top of older shapes with data, each of them twice; without Realtime and storage; and taken back.

# Two databases that should be the same: their definitions and their data, without what differs by chance.
dump() { "$bin/pg_dump" -U supabase_admin "$@" | grep -v '^\\\(un\)\?restrict \|^--'; }

for shape in fresh rich simple names; do
  older=$tests/legacy/$shape.sql
  if hosted_database "$shape" && { [ ! -e "$older" ] || sql -d "$shape" -U postgres -f "$older"; } && migrate "$shape"; then
    before=$(dump "$shape" | md5sum)
    migrate "$shape"
    ok "$([ "$before" = "$(dump "$shape" | md5sum)" ] && echo true)" "$shape: a second run changes nothing"
    [ ! -e "$older" ] || { sql -d "$shape" -f "$root/supabase/tests/helpers.psql" && run_tap "$tests/legacy/$shape.test.sql" "$shape"; }
  else
    ok false "$shape: the migrations"
  fi
done

# Rows of no project, in a database that has projects: asked, not guessed.
if hosted_database orphans && sql -d orphans -U postgres -f "$tests/legacy/simple.sql" &&
  sql -d orphans -U postgres -c "insert into project_files (project_id, file_path, content) values (null, 'whose.ts', 'x')"; then
  said=$(migrate orphans 2>&1)
  ok "$([[ $said == *'1 rows of project_files belong to no project'* ]] && echo true)" 'orphans: named, nothing guessed'
else
  ok false 'orphans: the older shape'
fi

# A plain PostgreSQL, without the schemas of Realtime and storage.
if "$bin/createdb" bare && sql -d bare -c 'alter schema public owner to postgres; grant create on database bare to postgres' && migrate bare; then
  saved=$(sql -At -d bare -c "insert into projects (id) values (gen_random_uuid());
    begin; select set_config('request.jwt.claims', '{\"role\": \"service_role\"}', true);
    select revision from upsert_project_file((select id from projects), 'a.ts', 'x', 'text'); commit;" | tail -1)
  ok "$([ "$saved" = 1 ] && echo true)" 'bare: saves without Realtime'
else
  ok false 'bare: the migrations'
fi

# Without hosted's extension: `postgres` makes the policies itself where it may become the tables' owners, and is told where not.
if hosted_database plain; then
  said=$(migrate plain postgres 2>&1)
  ok "$([[ $said == *'only supabase_realtime_admin may make policies on realtime.messages'*'grant supabase_realtime_admin to postgres'* ]] && echo true)" "plain: $said"
  sql -d plain -c 'grant supabase_realtime_admin, supabase_storage_admin to postgres'
  ok "$(migrate plain postgres && migrate plain postgres && echo true)" 'plain: as a member of the owners'
  ok "$(sql -At -d plain -c "select count(*) = 7 from pg_policies where schemaname in ('realtime', 'storage')")" 'plain: all policies are there'
  ok "$(sql -At -d plain -c "select not bool_or(has_schema_privilege(rolname, 'project_sync', 'usage')) from pg_roles where rolname in ('supabase_realtime_admin', 'supabase_storage_admin')")" 'plain: the schema is closed again'
  # Taken back but for the role, which is the whole server's and others use it.
  ok "$(grep -v 'preview_agent;$' "$root/supabase/take_back.sql" | sql -d plain -U postgres -1 -f - && sql -At -d plain -c "select count(*) = 0 from pg_policies where policyname like 'project_sync:%'")" 'plain: taken back as a member of the owners'
  sql -d plain -c 'revoke supabase_realtime_admin, supabase_storage_admin from postgres'
else
  ok false 'plain: a database'
fi

# Taken back: the older functions, policies and rows are as they were, and older code goes on writing.
if hosted_database back && sql -d back -U postgres -f "$tests/legacy/rich.sql"; then
  functions() { sql -At -d back -c "select pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace order by 1"; }
  policies() { sql -At -d back -c "select * from pg_policies where schemaname = 'public' order by policyname"; }
  rows() { sql -At -d back -c "select count(*), string_agg(file_path || coalesce(content, '-'), ',' order by file_path, content) from project_files"; }
  before=$(functions; policies; rows)
  migrate back
  ok "$([ "$before" != "$(functions; policies; rows)" ] && echo true)" 'taken back: there is something to take back'
  # The policies on the tables of others: simulated, as when they were made. The role is the whole server's, and others use it.
  sql -d back -1 -c "do \$\$ declare p record; begin for p in select * from pg_policies where schemaname in ('realtime', 'storage') and policyname like 'project_sync:%'
    loop execute format('drop policy %I on %I.%I', p.policyname, p.schemaname, p.tablename); end loop; end \$\$"
  for database in fresh rich simple names bare plain migrated load orphans test; do sql -d postgres -c "drop database if exists $database"; done
  ok "$(sql -d back -U postgres -1 -f "$root/supabase/take_back.sql" && echo true)" 'taken back: the documented steps'
  ok "$([ "$before" = "$(functions; policies; rows)" ] && echo true)" 'taken back: functions, policies and rows are as they were'
  ok "$(sql -At -d back -c "select not exists (select from pg_namespace where nspname = 'project_sync') and not exists (select from pg_roles where rolname = 'preview_agent')" | sed 's/^t$/true/')" 'taken back: nothing is left'
  saved=$(sql -At -d back -c "begin; select set_config('role', 'authenticated', true), set_config('request.jwt.claims', '{\"role\": \"authenticated\", \"sub\": \"' || md5('person owner')::uuid || '\"}', true);
    select version from upsert_project_file(md5('project one')::uuid, 'src/App.tsx', 'after', 'typescript'); commit;" | tail -1)
  ok "$([ "$saved" = 4 ] && echo true)" 'taken back: the older function saves'
  # And forth again: what was written meanwhile is adopted.
  ok "$(migrate back && sql -d back -f "$root/supabase/tests/helpers.psql" && sql -At -d back -c 'select tests.table_is_consistent()' | sed 's/^t$/true/')" 'and forth again'
else
  ok false 'taken back: the older shape'
fi
