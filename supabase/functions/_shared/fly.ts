import { Answered, type Asking, ask, type Deadline, PATIENCE, type Patience, pause } from './ask.ts'
import { type FlyOptions, flyConfig, readFlyOptions } from './fly_config.ts'
import type { Machine, MachineConfig, MachineState, Machines } from './machines.ts'
import type { Environment } from './settings.ts'

/** Seconds that one wait takes at most. Fly would take 60, but nothing says that it ends when the machine fails meanwhile. */
const WAIT = 10
/** How often a machine that failed is replaced, and one that is stopped is started, in one start. */
const REPLACED = 1
const STARTED = 2

/** As the Machines API gives it, in the parts that are used. */
interface FlyMachine {
  id: string
  name: string
  state: string
  /** Of the machine's current version: an older one would be `replaced`. */
  instance_id?: string
  config?: { metadata?: Record<string, string> }
}

/** Machines of one Fly app, by the Machines API. */
export class FlyMachines implements Machines {
  readonly provider = 'fly'
  readonly #options: FlyOptions
  readonly #patience: Patience

  constructor(options: FlyOptions, patience: Patience) {
    this.#options = options
    this.#patience = patience
  }

  /** Throws, naming the variable, where one is missing or not what Fly takes. */
  static fromEnvironment(environment: Environment, patience = PATIENCE): FlyMachines {
    return new FlyMachines(readFlyOptions(environment), patience)
  }

  async ensure(name: string, config: MachineConfig, deadline: Deadline): Promise<Machine> {
    for (let replaced = 0; ; replaced++) {
      const machine = await this.#settled(await this.#create(name, config, deadline), deadline)
      switch (stateOf(machine.state)) {
        case 'started':
          return this.#machine(machine)
        case 'stopped':
        case 'suspended':
          throw new Error(`machine ${machine.id} stops whenever it is started`)
        case 'starting':
          throw new Error(`machine ${machine.id} is not started in time: it is ${machine.state}`)
        case 'failed':
      }
      if (replaced === REPLACED) throw new Error(`machine ${machine.id} ended as ${machine.state}`)
      await this.#replaceable(machine, deadline)
    }
  }

  async find(name: string, id: string | null): Promise<Machine | null> {
    const machine = id ? await this.#look(id) : null
    if (machine && !isGone(machine)) return this.#machine(machine)
    // Replaced, it has another id under the same name.
    return (await this.list()).find((machine) => machine.name === name) ?? null
  }

  async list(): Promise<Machine[]> {
    const { managedBy } = this.#options
    const path = `?metadata.managed_by=${encodeURIComponent(managedBy)}`
    const all = await this.#ask<FlyMachine[]>({ operation: 'listing machines' }, 'GET', path)
    return all
      .filter((machine) => machine.config?.metadata?.managed_by === managedBy && !isGone(machine))
      .map((machine) => this.#machine(machine))
  }

  async start(id: string, deadline: Deadline): Promise<Machine | null> {
    const found = await this.#look(id, deadline)
    const machine = found && (await this.#settled(found, deadline))
    return machine && stateOf(machine.state) === 'started' ? this.#machine(machine) : null
  }

  async stop(id: string): Promise<void> {
    const body = { signal: 'SIGTERM', timeout: '5s' }
    await this.#unless([404, 412], this.#ask({ operation: 'stopping a machine' }, 'POST', `/${id}/stop`, body))
  }

  async suspend(id: string): Promise<void> {
    await this.#unless([412], this.#ask({ operation: 'suspending a machine' }, 'POST', `/${id}/suspend`))
  }

  async destroy(id: string): Promise<void> {
    await this.#unless([404], this.#ask({ operation: 'destroying a machine' }, 'DELETE', `/${id}?force=true`))
  }

  /** Started where it halted, and waited for until it is started or failed, halts again and again, or the time is over. */
  async #settled(found: FlyMachine, deadline: Deadline): Promise<FlyMachine> {
    let machine = found
    for (let started = 0; ; ) {
      switch (stateOf(machine.state)) {
        case 'started':
        case 'failed':
          return machine
        case 'stopped':
        case 'suspended':
          if (started++ === STARTED) return machine
          await this.#start(machine.id, deadline)
          break
        case 'starting':
      }
      if (!isHalting(machine) && (await this.#reached(machine, 'started', deadline))) {
        return { ...machine, state: 'started' }
      }
      if (deadline.left() === 0) {
        return stateOf(machine.state) === 'starting' ? machine : { ...machine, state: 'starting' }
      }
      await pause(Math.min(this.#patience.firstWaitMs, deadline.left()))
      machine = (await this.#look(machine.id, deadline)) ?? { ...machine, state: 'destroyed' }
    }
  }

  /** 412: it is started, on its way there, or still on its way to a halt; looking at it again tells. */
  async #start(id: string, deadline: Deadline): Promise<void> {
    const asking = { operation: 'starting a machine', deadline }
    await this.#unless([412], this.#ask(asking, 'POST', `/${id}/start`))
  }

  /** A new machine, or the one that has the name already. */
  async #create(name: string, config: MachineConfig, deadline: Deadline): Promise<FlyMachine> {
    const body = { name, region: this.#options.region, config: flyConfig(this.#options, config) }
    try {
      return await this.#ask<FlyMachine>({ operation: 'creating a machine', deadline }, 'POST', '', body)
    } catch (error) {
      // Names are unique: a try before this one, whose answer was lost, or another caller made it. Fly says which.
      if (!(error instanceof Answered) || (error.status !== 409 && error.status !== 422)) throw error
      const id = /machine ID (\w+) already exists/.exec(error.body)?.[1] ?? (await this.find(name, null))?.id
      const machine = id ? await this.#look(id, deadline) : null
      if (!machine) throw error
      return machine
    }
  }

  /** Destroys it, and waits until its name is free again. */
  async #replaceable(machine: FlyMachine, deadline: Deadline): Promise<void> {
    if (machine.state !== 'destroyed') await this.destroy(machine.id)
    await this.#reached(machine, 'destroyed', deadline)
  }

  /** Whether it is in that state before the deadline, and before Fly gives up waiting or says that it never will be. */
  async #reached(machine: FlyMachine, state: string, deadline: Deadline): Promise<boolean> {
    const most = Math.min(deadline.left(), this.#patience.longTryMs) / 1000
    const seconds = Math.max(1, Math.min(WAIT, Math.floor(most)))
    const instance = machine.instance_id ? `&instance_id=${machine.instance_id}` : ''
    // Longer than the wait itself, so that Fly's own answer (408) is the one that comes.
    const timeout = seconds * 1000 + this.#patience.tryMs
    try {
      const path = `/${machine.id}/wait?state=${state}&timeout=${seconds}${instance}`
      await this.#ask({ operation: 'waiting for a machine', timeout, deadline }, 'GET', path)
      return true
    } catch (error) {
      if (error instanceof Answered && [400, 404, 408, 409, 412].includes(error.status)) return false
      throw error
    }
  }

  async #look(id: string, deadline?: Deadline): Promise<FlyMachine | null> {
    try {
      return await this.#ask<FlyMachine>({ operation: 'looking at a machine', deadline }, 'GET', `/${id}`)
    } catch (error) {
      if (error instanceof Answered && error.status === 404) return null
      throw error
    }
  }

  #machine(machine: FlyMachine): Machine {
    const { app, previewUrl } = this.#options
    return {
      id: machine.id,
      name: machine.name,
      state: stateOf(machine.state),
      sessionId: machine.config?.metadata?.session_id ?? null,
      url: previewUrl.replaceAll('{app}', app).replaceAll('{machine}', machine.id),
    }
  }

  /** These statuses mean that it is so already. */
  async #unless(statuses: number[], asked: Promise<unknown>): Promise<void> {
    try {
      await asked
    } catch (error) {
      if (!(error instanceof Answered) || !statuses.includes(error.status)) throw error
    }
  }

  async #ask<T>(asking: Omit<Asking, 'patience'>, method: string, path: string, body?: unknown): Promise<T> {
    const { api, app, token } = this.#options
    const init: RequestInit = {
      method,
      headers: { authorization: `Bearer ${token.reveal()}`, 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    }
    const request = (): [string, RequestInit] => [`${api}/apps/${app}/machines${path}`, init]
    return await ask({ ...asking, patience: this.#patience }, request, async (response) => {
      const text = await response.text()
      return (text === '' ? null : JSON.parse(text)) as T
    })
  }
}

function isGone(machine: FlyMachine): boolean {
  return machine.state === 'destroyed' || machine.state === 'destroying'
}

/** Waiting for it to be started would be waiting for somebody else to start it. */
function isHalting(machine: FlyMachine): boolean {
  return machine.state === 'stopping' || machine.state === 'suspending'
}

function stateOf(state: string): MachineState {
  switch (state) {
    case 'started':
    case 'suspended':
    case 'stopped':
      return state
    case 'failed':
    case 'launch_failed':
    case 'migrated':
    case 'destroying':
    case 'destroyed':
      return 'failed'
    // On its way: created, starting, stopping, suspending, restarting, updating, replacing.
    default:
      return 'starting'
  }
}
