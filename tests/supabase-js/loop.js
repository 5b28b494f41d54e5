// Saves through the official client, as an editor does, and waits until the agent has written each save to disk. The last line of
// its output is the result as JSON.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { readFileSync, statSync, watch } from 'node:fs'
import { join } from 'node:path'

import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

const { SUPABASE_URL, SUPABASE_ANON_KEY, PROJECT_ID, OWNER_ID, JWT_SECRET, PROJECT_DIR, SAVES } = process.env
const folder = join(PROJECT_DIR, 'src')
const file = join(folder, 'App.tsx')

/** A token as the application's backend makes it. */
function mint(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const now = Math.floor(Date.now() / 1000)
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ ...claims, iat: now, exp: now + 600 })}`
  return `${signed}.${createHmac('sha256', JWT_SECRET).update(signed).digest('base64url')}`
}

const token = mint({ role: 'authenticated', aud: 'authenticated', sub: OWNER_ID })
const client = createClient(SUPABASE_URL, SUPABASE_ANON_KEY, {
  accessToken: async () => token,
  realtime: { transport: WebSocket },
})
const save = (content, expected_version, p_file_path = 'src/App.tsx') =>
  client.rpc('upsert_project_file', {
    project_uuid: PROJECT_ID,
    p_file_path,
    p_content: content,
    p_file_type: 'typescript',
    expected_version,
  })

/** Resolves with the time at which `isWritten(path)` becomes true. */
function onDisk(path, isWritten) {
  return new Promise((resolve, reject) => {
    const look = () => {
      let written = false
      try {
        written = isWritten(path)
      } catch (error) {
        if (error.code !== 'ENOENT') return reject(error)
      }
      if (!written) return
      watcher.close()
      clearTimeout(timer)
      resolve(performance.now())
    }
    const watcher = watch(folder, look)
    const timer = setTimeout(() => reject(new Error(`not written within 60 s: ${path}`)), 60_000)
    look()
  })
}

function median(times) {
  const sorted = [...times].sort((one, other) => one - other)
  return Math.round(sorted[Math.floor(sorted.length / 2)] * 100) / 100
}

const first = await client.rpc('get_project_file', {
  project_uuid: PROJECT_ID,
  p_file_path: 'src/App.tsx',
  p_version: 1,
})
assert.equal(first.error, null)
let version = 1
const answered = []
const written = []
for (let turn = 0; turn < Number(SAVES); turn += 1) {
  const content = `export default ${turn}\n${'// a line of an ordinary file\n'.repeat(70)}`
  const arrived = onDisk(file, (path) => readFileSync(path, 'utf8') === content)
  const called = performance.now()
  const { data, error } = await save(content, version)
  answered.push(performance.now() - called)
  assert.equal(error, null)
  assert.equal(data.version, version + 1)
  written.push((await arrived) - called)
  version = data.version
}

// A stale version: nothing is saved, and the details name the current one.
const stale = await save('stale', version - 1)
assert.equal(stale.data, null)
assert.equal(stale.status, 409)
assert.equal(stale.error.code, 'PT409')
const details = { file_path: 'src/App.tsx', expected_version: version - 1, current_version: version }
assert.deepEqual(JSON.parse(stale.error.details), details)
assert.notEqual(readFileSync(file, 'utf8'), 'stale')

// 5 MB, which is too large for an event.
const large = 'x'.repeat(5 << 20)
const arrived = onDisk(join(folder, 'large.txt'), (path) => statSync(path).size === large.length)
const called = performance.now()
assert.equal((await save(large, 0, 'src/large.txt')).error, null)
const took = (await arrived) - called

console.log(
  JSON.stringify({
    saves: written.length,
    version,
    answered_ms: median(answered),
    on_disk_ms: median(written),
    slowest_ms: Math.round(Math.max(...written)),
    five_megabytes_ms: Math.round(took),
  }),
)
process.exit(0)
