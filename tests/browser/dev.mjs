// Runs `preview-agent dev` on a copy of a fixture, as a developer would.
import { spawn } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'

const top = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '../..')
export const binary = process.env.PREVIEW_AGENT ?? path.join(top, 'target/debug/preview-agent')

/** The first start installs the fixture's packages from the registry. */
const READY_MS = 180_000
const STEP_MS = 30_000

export async function freePort() {
  const server = createServer()
  await new Promise((resolve, reject) => server.on('error', reject).listen(0, resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Whether a program listens on this port of the loopback, by IPv4 or IPv6. */
export async function listens(port) {
  const tries = ['127.0.0.1', '::1'].map(
    (host) =>
      new Promise((resolve) => {
        const socket = createConnection({ host, port })
        socket.on('connect', () => resolve(true) ?? socket.destroy()).on('error', () => resolve(false))
      }),
  )
  return (await Promise.all(tries)).some(Boolean)
}

/** Calls `look` until it returns something true, and returns that. */
export async function until(what, look, deadline = STEP_MS) {
  const end = Date.now() + deadline
  for (;;) {
    const found = await look()
    if (found) return found
    if (Date.now() > end) throw new Error(`not within ${deadline} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Processes whose working directory or command line contains `directory`. */
export async function processesIn(directory) {
  const found = []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue
    // A process may end between the two reads.
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '')
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (cwd.startsWith(directory) || command.includes(directory)) found.push(`${pid} ${command.replaceAll('\0', ' ')}`)
  }
  return found
}

/** Runs the binary until it ends. */
export async function run(args) {
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const output = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr']) child[stream].on('data', (data) => (output[stream] += data))
  const status = await new Promise((resolve, reject) => child.on('close', resolve).on('error', reject))
  return { status, ...output }
}

export class Dev {
  /** Makes a copy of the fixture, a free port and a separate cache, so that tests do not share anything. */
  static async prepare(fixture) {
    const dev = await Dev.empty(fixture)
    const source = path.join(top, 'fixtures', fixture)
    await cp(source, dev.folder, { recursive: true, filter: (from) => path.basename(from) !== 'node_modules' })
    return dev
  }

  /** The same for a project with these files: texts by their paths. */
  static async write(name, files) {
    const dev = await Dev.empty(name)
    for (const [file, text] of Object.entries(files)) {
      await mkdir(path.dirname(path.join(dev.folder, file)), { recursive: true })
      await writeFile(path.join(dev.folder, file), text)
    }
    return dev
  }

  static async empty(name) {
    const dev = new Dev()
    dev.home = await mkdtemp(path.join(tmpdir(), 'preview-agent-test-'))
    dev.folder = path.join(dev.home, name)
    dev.envFile = path.join(dev.home, 'editor.env')
    dev.port = await freePort()
    return dev
  }

  /** Starts the binary and waits until the dev server answers. */
  async start(deadline = READY_MS) {
    this.launch()
    await this.event('dev_server_ready', deadline)
    this.started = await this.event('dev_start')
    const lines = (await readFile(this.envFile, 'utf8')).trim().split('\n')
    this.editor = Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2)))
  }

  launch() {
    const args = [
      'dev',
      this.folder,
      '--port',
      String(this.port),
      '--env-file',
      this.envFile,
      '--log-format',
      'json',
      ...(this.extra ?? []),
    ]
    this.events = []
    this.waiting = new Set()
    const env = { ...process.env, XDG_CACHE_HOME: path.join(this.home, 'cache'), ...this.environment }
    this.child = spawn(binary, args, { env, stdio: ['ignore', 'pipe', 'inherit'] })
    this.exited = new Promise((resolve, reject) => {
      this.child.on('exit', (code, signal) => resolve(code ?? signal)).on('error', reject)
    })
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      if (process.env.SHOW_LOGS) console.log(line)
      this.events.push(JSON.parse(line))
      for (const look of this.waiting) look()
    })
  }

  get url() {
    return `http://localhost:${this.port}/`
  }

  /** The agent's copy of the folder. */
  get projectDir() {
    return this.started.project_dir
  }

  /** Resolves with the first event of this type, also where it was logged before. */
  async event(type, deadline = READY_MS) {
    let look
    const found = new Promise((resolve) => {
      look = () => {
        const event = this.events.find((event) => event.event_type === type)
        if (event) resolve(event)
      }
      this.waiting.add(look)
      look()
    })
    const ended = this.exited.then((status) => {
      throw new Error(`preview-agent ended with ${status} before ${type}: ${this.lastEvents()}`)
    })
    let timer
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no ${type} within ${deadline} ms: ${this.lastEvents()}`)), deadline)
    })
    try {
      return await Promise.race([found, ended, late])
    } finally {
      clearTimeout(timer)
      this.waiting.delete(look)
    }
  }

  lastEvents() {
    return this.events
      .slice(-15)
      .map((event) => JSON.stringify(event))
      .join('\n')
  }

  /** Calls a database function with the editor's token. */
  async rpc(name, args) {
    const answer = await fetch(`${this.editor.SUPABASE_URL}/rest/v1/rpc/${name}`, {
      method: 'POST',
      headers: {
        apikey: this.editor.SUPABASE_ANON_KEY,
        authorization: `Bearer ${this.editor.EDITOR_TOKEN}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify({ project_uuid: this.editor.PROJECT_ID, ...args }),
    })
    if (!answer.ok) throw new Error(`${name}: ${answer.status} ${await answer.text()}`)
    return answer.json()
  }

  /** Sends Ctrl-C, and resolves with the exit status. */
  async interrupt() {
    this.child.kill('SIGINT')
    return this.exited
  }

  /** Ends the agent in order, so that it ends the dev server with all its processes, then kills what is left of them. */
  async remove() {
    this.child?.kill('SIGTERM')
    const late = setTimeout(() => this.child?.kill('SIGKILL'), STEP_MS)
    await this.exited
    clearTimeout(late)
    for (const found of await processesIn(this.home)) {
      // It may end by itself in this moment.
      try {
        process.kill(Number.parseInt(found, 10), 'SIGKILL')
      } catch {}
    }
    // A process of the project that is just being killed may still write.
    await rm(this.home, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  }
}
