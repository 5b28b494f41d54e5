import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { promisify } from 'node:util'

const folder = new URL('../', import.meta.url)

test('the example in the README works', async () => {
  const readme = await readFile(new URL('README.md', folder), 'utf8')
  const blocks = [...readme.matchAll(/```js\n(.*?)```/gs)].map((block) => block[1])
  assert(blocks.length >= 2)
  const script = new URL('built/example.mjs', folder)
  // Node before 22 has no WebSocket; browsers have one.
  await writeFile(
    script,
    `globalThis.WebSocket ??= (await import('ws')).default\n${blocks.join('\n')}\nprocess.exit(0)\n`,
  )
  const { stdout } = await promisify(execFile)(process.execPath, [script.pathname], { timeout: 60_000 })
  const lines = stdout.trim().split('\n')
  assert.match(lines[0] ?? '', /^\d+ files at revision \d+$/)
  assert.match(lines[1] ?? '', /^src\/hello\.txt is at version \d+$/)
  assert(lines.includes('src/hello.txt is now: Hello, you\n'.trim()), stdout)
  assert(lines.includes('changed elsewhere: version 2, not 1'), stdout)
})
