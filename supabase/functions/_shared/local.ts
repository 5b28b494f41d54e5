import { type Deadline, sleep } from './http.ts'
import type { Machine, MachineConfig, MachineState, Machines } from './machines.ts'
import { type Environment, required } from './settings.ts'

/** How long after SIGTERM a process is killed, in milliseconds: the agent gives the dev server 4 s. */
const STOP_GRACE_MS = 15_000

/** Milliseconds between two checks of a process that starts or ends. */
const POLL_MS = 20

/**
 * Records which process this is, in one rename, and becomes the agent. If the parent wrote the record, it would be missing
 * where the parent is killed in between, and the process could not be found any more.
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

/** The record beside a machine's project, from which a later process of these functions finds the machine. */
interface ProcessRecord {
  pid: number
  /** The start of the process, in ticks since boot: the pid alone may have been reused. */
  began: string
  sessionId: string
  port: number
  statusPort: number
}

/** Machines as processes of this computer. Each has a directory with its project, its log and its record. */
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
    // Its places and ports are set by flags, so that its environment is the same as on a Fly machine.
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
    // Without this it would stay a zombie after its end.
    child.status
      .finally(() => {
        ended = true
      })
      .catch(() => {})
    child.unref()
    while (!(await answers(`http://127.0.0.1:${statusPort}/healthz`))) {
      if (ended) throw new Error(`the machine ended during its start: ${await lastLine(`${home}/log`)}`)
      if (deadline.left() === 0) throw new Error('the machine does not answer before the deadline')
      await sleep(POLL_MS)
    }
    const machine = await this.find(name)
    if (!machine) throw new Error(`${home} was removed while the machine started`)
    return machine
  }

  async find(name: string): Promise<Machine | null> {
    const record = await this.#record(name)
    return record ? this.#machine(name, record) : null
  }

  async list(): Promise<Machine[]> {
    const machines: Machine[] = []
    try {
      for await (const { name } of Deno.readDir(this.root)) {
        const machine = await this.find(name)
        if (machine) machines.push(machine)
      }
    } catch (error) {
      // The directory is made with the first machine.
      if (!(error instanceof Deno.errors.NotFound)) throw error
    }
    return machines
  }

  /** Continues a suspended process; one that has ended cannot be started again. */
  async start(id: string): Promise<Machine | null> {
    if (!(await this.#signal(id, 'SIGCONT'))) return null
    const machine = await this.find(id)
    return machine && machine.state !== 'stopped' ? { ...machine, state: 'started' } : null
  }

  async stop(id: string): Promise<void> {
    await this.#end(id)
  }

  /** Stops the process without ending it; its memory is kept. */
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
    const record = await this.#record(id)
    if (!record || !process(record)) return false
    kill(record.pid, signal)
    return true
  }

  async #end(id: string): Promise<void> {
    if (!(await this.#signal(id, 'SIGTERM'))) return
    await this.#signal(id, 'SIGCONT')
    const record = await this.#record(id)
    const until = Date.now() + STOP_GRACE_MS
    while (record && process(record)) {
      if (Date.now() > until) kill(record.pid, 'SIGKILL')
      await sleep(POLL_MS)
    }
  }

  async #record(id: string): Promise<ProcessRecord | null> {
    try {
      return JSON.parse(await Deno.readTextFile(`${this.root}/${id}/machine.json`))
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return null
      throw error
    }
  }

  #machine(name: string, record: ProcessRecord): Machine {
    const { sessionId, port } = record
    return { id: name, name, state: process(record) ?? 'stopped', sessionId, url: `http://127.0.0.1:${port}/` }
  }
}

function freePort(): number {
  const listener = Deno.listen({ hostname: '127.0.0.1', port: 0 })
  const { port } = listener.addr as Deno.NetAddr
  listener.close()
  return port
}

/** A process that has just ended is not an error. */
function kill(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal)
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error
  }
}

/** The state of the process; null where it has ended, also where its pid is used by another process now. */
function process(record: ProcessRecord): MachineState | null {
  try {
    const stat = Deno.readTextFileSync(`/proc/${record.pid}/stat`)
    // The name is in brackets and may contain spaces and brackets itself.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X' || fields[19] !== record.began) return null
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
  return log.trimEnd().split('\n').at(-1) || 'its log is empty'
}
