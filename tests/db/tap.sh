# Counting what the tests say.

# One line of a test that is no TAP file.
ok() {
  if [ "$1" = true ] || [ "$1" = t ]; then passed=$((passed + 1)); else
    failed=$((failed + 1)); echo "not ok - $2"
  fi
}

# Runs a pgTAP file in a database, shows what failed, and counts. A file that breaks off fails once more.
run_tap() {
  local file=$1 database=$2 output status good bad planned
  output=$(sql -At -d "$database" -v ON_ERROR_STOP=1 -f "$file" 2>&1); status=$?
  good=$(grep -c '^ok ' <<<"$output"); bad=$(grep -c '^not ok ' <<<"$output")
  planned=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' <<<"$output" | tail -1)
  if [ $status != 0 ] || [ "$planned" != $((good + bad)) ]; then bad=$((bad + 1)); fi
  passed=$((passed + good)); failed=$((failed + bad))
  if [ "$bad" != 0 ]; then
    echo "--- $(basename "$file"): $good ok, $bad not"
    grep -v '^ok \|^$' <<<"$output" | head -"${TAP_LINES:-60}"
  else
    echo "$(basename "$file"): $good ok"
  fi
}
