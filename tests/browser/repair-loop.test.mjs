// The example of examples/repair-loop, with a real agent and its dev server.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { Dev, until } from './dev.mjs'

const FILE = 'src/App.jsx'
const run = promisify(execFile)
const top = path.resolve(import.meta.dirname, '../..')
const example = path.join(top, 'examples/repair-loop')
let dev

before(async () => {
  // The example imports the built package.
  await run('npm', ['run', '--silent', 'build'], { cwd: path.join(top, 'clients/project-files') })
  dev = await Dev.prepare('react-vite')
  await dev.start()
})

after(() => dev?.remove())

test('an edit that breaks the preview is repaired by what the problem says', async () => {
  const before = await readFile(path.join(dev.projectDir, FILE), 'utf8')
  const env = { ...process.env, ...dev.editor }
  const { stdout } = await run('node', ['main.js', FILE], { cwd: example, env })
  console.log(stdout)
  const lines = stdout.trim().split('\n')
  assert.match(lines[0], /^revision \d+: broken, /)
  assert.match(lines[1], new RegExp(`^ {2}${FILE}:\\d+:\\d+: `))
  assert.match(lines[2], /^revision \d+: ok, /)
  assert.equal(lines[3], 'the preview works after 2 rounds')
  assert.equal((await readFile(path.join(dev.projectDir, FILE), 'utf8')).trimEnd(), before.trimEnd())
})

test('a verdict that came before an editor followed the preview is sent again', async () => {
  const text = await readFile(path.join(dev.projectDir, FILE), 'utf8')
  const saved = await dev.rpc('upsert_project_file', {
    p_file_path: FILE,
    p_content: `${text}\n// one more line\n`,
    p_file_type: 'jsx',
    expected_version: null,
  })
  const isVerdict = (event) => event.event_type === 'verdict' && event.revision >= saved.revision
  await until('the verdict', () => dev.events.some(isVerdict))
  const env = { ...process.env, ...dev.editor }
  const { stdout } = await run('node', ['verdict.js', String(saved.revision)], { cwd: example, env })
  const { verdict, revision, problems } = JSON.parse(stdout)
  assert.deepEqual([verdict, revision >= saved.revision, problems], ['ok', true, []])
})

test('settings that are missing are named', async () => {
  const env = { ...process.env, ...dev.editor, EDITOR_TOKEN: '' }
  const failed = await run('node', ['main.js', FILE], { cwd: example, env }).catch((error) => error)
  assert.equal(failed.code, 64)
  assert.match(failed.stderr, /missing: EDITOR_TOKEN/)
})
