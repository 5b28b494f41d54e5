// prepare.mjs TEMPLATE OUT: runs the agent on the template until its dev server answers and has bundled the
// dependencies, then moves their tree to OUT/<key>/node_modules and gives it to root. The key is the one that the agent
// wrote. Runs as root.
//
// The agent does not use a tree that the project's user could have changed.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const [template, out] = process.argv.slice(2)
// The project's path in the container: Vite discards what was bundled under another path.
const project = process.env.PROJECT_DIR ?? '/app/project'
const state = '/app/.preview-agent'
const minutes = 60_000
const deadline = Date.now() + 10 * minutes

function must(what, run) {
  if (run.status !== 0) throw new Error(`${what} ended with ${run.status ?? run.error}`)
}

async function until(what, holds) {
  while (!(await holds())) {
    if (agent.exitCode !== null) throw new Error(`the agent ended with ${agent.exitCode} before ${what}`)
    if (Date.now() > deadline) throw new Error(`not within 10 minutes: ${what}`)
    await sleep(100)
  }
}

const answers = (url) =>
  fetch(url).then(
    (answer) => answer.ok,
    () => false,
  )

const session = {
  PROJECT_ID: '00000000-0000-4000-8000-000000000000',
  SESSION_ID: 'prepare',
  PROJECT_DIR: project,
  STATE_DIR: state,
}
const env = { ...process.env, ...session }
must(
  'the snapshot',
  spawnSync('preview-agent', ['snapshot', template, '--out', '/tmp/template.zip'], { stdio: 'inherit', env }),
)
const args = ['run', '--snapshot', '/tmp/template.zip', '--log-format', 'pretty', '--status-addr', '127.0.0.1:9464']
const agent = spawn('preview-agent', args, { stdio: 'inherit', env })
await until('the preview answers', () => answers('http://127.0.0.1:9464/readyz'))
await answers('http://127.0.0.1:3001/')

const tree = join(project, 'node_modules')
if (existsSync(join(tree, 'vite'))) {
  await until('the dependencies are bundled', () => existsSync(join(tree, '.vite/deps/_metadata.json')))
}
agent.kill('SIGTERM')
await new Promise((ended) => agent.once('exit', ended))

if (!existsSync(tree)) throw new Error('the template has no dependencies: name another, or leave the prepare stage out')
const place = join(out, readFileSync(join(tree, '.preview-key'), 'utf8').trim())
mkdirSync(place, { recursive: true })
must('the move', spawnSync('mv', [tree, place]))
must('the change of owner', spawnSync('chown', ['-Rh', 'root:root', out]))
must('the change of mode', spawnSync('chmod', ['-R', 'go-w', out]))
rmSync(state, { recursive: true, force: true })
console.log(`prepared ${place}`)
