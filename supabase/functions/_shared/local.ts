import { type Deadline, pause } from './ask.ts'
import type { Machine, MachineConfig, MachineState, Machines } from './machines.ts'
import { type Environment, required } from './settings.ts'

/** How long a machine may take to end after SIGTERM before it is killed, milliseconds: the agent's own grace is 4 s. */
const GRACE_MS = 15_000

/** Milliseconds between two looks at a process that starts or ends. */
const LOOK_MS = 20

/**
 * Writes down which process this is, whole or not at all, and becomes the agent. Written by whoever starts it, it would be
 * missing where they are killed in between, and the process would be nobody's.
 */
const SCRIPT = `
home=$1 rest=$2
shift 2
read -r stat < "/proc/$$/stat" || exit 1
began=$(echo "\${stat##*) }" | cut -d ' ' -f 20)
printf '{"pid":%s,"began":"%s",%s' "$$" "$began" "\${rest#?}" > "$home/machine.json.new" || exit 1
mv "$home/machine.json.new" "$home/machine.json" || exit 1
exec "$@" > "$home/log" 2>&1
`

/** What lies beside a machine's project, for a process that comes after this one. */
interface Kept {
  pid: number
  /** The process's start, in ticks since boot: a pid alone may be another's by now. */
  began: string
  sessionId: string
  port: number
  statusPort: number
}

/** Machines that are processes of this computer: a directory for each, with its project, its log and its pid. */
export class LocalMachines implements Machines {
  readonly provider = 'local'

  constructor(
    readonly binary: string,
    readonly root: string,
    readonly path: string,
  ) {}

  static fromEnvironment(environment: Environment): LocalMachines {
    return new LocalMachines(
      required(environment, 'LOCAL_AGENT_BINARY'),
      required(environment, 'LOCAL_MACHINES_DIR'),
      environment('PATH') ?? '/usr/bin:/bin',
    )
  }

  async ensure(name: string, config: MachineConfig, deadline: Deadline): Promise<Machine> {
    const there = await this.find(name)
    if (there?.state === 'suspended') await this.start(there.id)
    if (there?.state === 'suspended' || there?.state === 'started') return { ...there, state: 'started' }
    await this.destroy(name)
    const home = `${this.root}/${name}`
    await Deno.mkdir(`${home}/project`, { recursive: true })
    const [port, statusPort] = [freePort(), freePort()]
    // Where it lives and listens is said by flags, so that its environment is the one that a machine of Fly's has.
    const flags = [
      '--project-dir',
      `${home}/project`,
      '--preview-port',
      `${port}`,
      '--status-addr',
      `127.0.0.1:${statusPort}`,
    ]
    const rest = JSON.stringify({ sessionId: config.sessionId, port, statusPort })
    const child = new Deno.Command('sh', {
      args: ['-c', SCRIPT, 'sh', home, rest, this.binary, 'run', ...flags],
      clearEnv: true,
      env: { PATH: this.path, HOME: home, ...config.env },
      stdin: 'null',
      stdout: 'null',
      stderr: 'null',
    }).spawn()
    let ended = false
    // Nobody else waits for it, and it would stay a zombie.
    child.status.finally(() => (ended = true)).catch(() => {})
    child.unref()
    while (!(await answers(`http://127.0.0.1:${statusPort}/healthz`))) {
      if (ended) throw new Error(`the machine ended at once: ${await lastLine(`${home}/log`)}`)
      if (deadline.left() === 0) throw new Error('the machine does not answer in time')
      await pause(LOOK_MS)
    }
    const machine = await this.find(name)
    if (!machine) throw new Error(`${home} was removed while the machine started`)
    return machine
  }

  async find(name: string): Promise<Machine | null> {
    const kept = await this.#kept(name)
    return kept ? this.#machine(name, kept) : null
  }

  async list(): Promise<Machine[]> {
    const machines: Machine[] = []
    try {
      for await (const { name } of Deno.readDir(this.root)) {
        const machine = await this.find(name)
        if (machine) machines.push(machine)
      }
    } catch (error) {
      // Made with the first machine.
      if (!(error instanceof Deno.errors.NotFound)) throw error
    }
    return machines
  }

  /** A process that ended cannot be started again. */
  async start(id: string): Promise<Machine | null> {
    if (!(await this.#signal(id, 'SIGCONT'))) return null
    const machine = await this.find(id)
    return machine && machine.state !== 'stopped' ? { ...machine, state: 'started' } : null
  }

  async stop(id: string): Promise<void> {
    await this.#end(id)
  }

  /** A suspended process keeps its memory and does nothing. */
  async suspend(id: string): Promise<void> {
    await this.#signal(id, 'SIGSTOP')
  }

  async destroy(id: string): Promise<void> {
    await this.#end(id)
    await Deno.remove(`${this.root}/${id}`, { recursive: true }).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error
    })
  }

  async #signal(id: string, signal: Deno.Signal): Promise<boolean> {
    const kept = await this.#kept(id)
    if (!kept || !process(kept)) return false
    kill(kept.pid, signal)
    return true
  }

  async #end(id: string): Promise<void> {
    if (!(await this.#signal(id, 'SIGTERM'))) return
    await this.#signal(id, 'SIGCONT')
    const kept = await this.#kept(id)
    const until = Date.now() + GRACE_MS
    while (kept && process(kept)) {
      if (Date.now() > until) kill(kept.pid, 'SIGKILL')
      await pause(LOOK_MS)
    }
  }

  async #kept(id: string): Promise<Kept | null> {
    try {
      return JSON.parse(await Deno.readTextFile(`${this.root}/${id}/machine.json`))
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return null
      throw error
    }
  }

  #machine(name: string, kept: Kept): Machine {
    const { sessionId, port } = kept
    return { id: name, name, state: process(kept) ?? 'stopped', sessionId, url: `http://127.0.0.1:${port}/` }
  }
}

function freePort(): number {
  const listener = Deno.listen({ hostname: '127.0.0.1', port: 0 })
  const { port } = listener.addr as Deno.NetAddr
  listener.close()
  return port
}

/** One that has just ended has got what it was to be told. */
function kill(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal)
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error
  }
}

/** How the process is; null where it ended, whether or not its number is another's by now. */
function process(kept: Kept): MachineState | null {
  try {
    const stat = Deno.readTextFileSync(`/proc/${kept.pid}/stat`)
    // The name stands in brackets and may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X' || fields[19] !== kept.began) return null
    return fields[0] === 'T' ? 'suspended' : 'started'
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null
    throw error
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(1_000) })
    await response.body?.cancel()
    return response.ok
  } catch {
    return false
  }
}

async function lastLine(path: string): Promise<string> {
  const log = await Deno.readTextFile(path).catch(() => '')
  return log.trimEnd().split('\n').at(-1) || 'it said nothing'
}
