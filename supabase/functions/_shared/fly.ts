import { type FlyOptions, flyConfig, readFlyOptions } from './fly_config.ts'
import {
  DEFAULT_RETRY,
  type Deadline,
  HttpError,
  type RequestOptions,
  type RetryPolicy,
  request,
  sleep,
} from './http.ts'
import type { Machine, MachineConfig, MachineState, Machines } from './machines.ts'
import type { Environment } from './settings.ts'

/** Seconds of one wait request. Fly allows 60, but does not document that the wait ends early when the machine fails. */
const WAIT_SECONDS = 10
/** How often one start replaces a machine that failed, and starts one that stops again. */
const MAX_REPLACEMENTS = 1
const MAX_STARTS = 2

/** The fields of the Machines API's answers that are used. */
interface FlyMachine {
  id: string
  name: string
  state: string
  /** The current version of the machine: a wait for an older version fails. */
  instance_id?: string
  config?: { metadata?: Record<string, string> }
}

/** Machines of one Fly app, through the Machines API. */
export class FlyMachines implements Machines {
  readonly provider = 'fly'
  readonly #options: FlyOptions
  readonly #retry: RetryPolicy

  constructor(options: FlyOptions, retry: RetryPolicy) {
    this.#options = options
    this.#retry = retry
  }

  /** Throws, naming the variable, where one is missing or has a value that Fly refuses. */
  static fromEnvironment(environment: Environment, retry = DEFAULT_RETRY): FlyMachines {
    return new FlyMachines(readFlyOptions(environment), retry)
  }

  async ensure(name: string, config: MachineConfig, deadline: Deadline): Promise<Machine> {
    for (let replaced = 0; ; replaced++) {
      const machine = await this.#waitUntilStarted(await this.#create(name, config, deadline), deadline)
      switch (stateOf(machine.state)) {
        case 'started':
          return this.#machine(machine)
        case 'stopped':
        case 'suspended':
          throw new Error(`machine ${machine.id} stopped again after each start`)
        case 'starting':
          throw new Error(`machine ${machine.id} is still ${machine.state} at the deadline`)
        case 'failed':
      }
      if (replaced === MAX_REPLACEMENTS) throw new Error(`machine ${machine.id} ended as ${machine.state}`)
      await this.#destroyAndWait(machine, deadline)
    }
  }

  async find(name: string, id: string | null): Promise<Machine | null> {
    const machine = id ? await this.#get(id) : null
    if (machine && !isGone(machine)) return this.#machine(machine)
    // A machine that was replaced has another id under the same name.
    return (await this.list()).find((machine) => machine.name === name) ?? null
  }

  async list(): Promise<Machine[]> {
    const { managedBy } = this.#options
    const path = `?metadata.managed_by=${encodeURIComponent(managedBy)}`
    const all = await this.#request<FlyMachine[]>({ operation: 'listing machines' }, 'GET', path)
    return all
      .filter((machine) => machine.config?.metadata?.managed_by === managedBy && !isGone(machine))
      .map((machine) => this.#machine(machine))
  }

  async start(id: string, deadline: Deadline): Promise<Machine | null> {
    const found = await this.#get(id, deadline)
    const machine = found && (await this.#waitUntilStarted(found, deadline))
    return machine && stateOf(machine.state) === 'started' ? this.#machine(machine) : null
  }

  async stop(id: string): Promise<void> {
    const body = { signal: 'SIGTERM', timeout: '5s' }
    await this.#ignoring([404, 412], this.#request({ operation: 'stopping a machine' }, 'POST', `/${id}/stop`, body))
  }

  async suspend(id: string): Promise<void> {
    await this.#ignoring([412], this.#request({ operation: 'suspending a machine' }, 'POST', `/${id}/suspend`))
  }

  async destroy(id: string): Promise<void> {
    await this.#ignoring([404], this.#request({ operation: 'destroying a machine' }, 'DELETE', `/${id}?force=true`))
  }

  /** Starts the machine where it is stopped, and waits until it is started or failed, stops too often, or the deadline passes. */
  async #waitUntilStarted(found: FlyMachine, deadline: Deadline): Promise<FlyMachine> {
    let machine = found
    for (let started = 0; ; ) {
      switch (stateOf(machine.state)) {
        case 'started':
        case 'failed':
          return machine
        case 'stopped':
        case 'suspended':
          if (started++ === MAX_STARTS) return machine
          await this.#start(machine.id, deadline)
          break
        case 'starting':
      }
      if (!isStopping(machine) && (await this.#waitForState(machine, 'started', deadline))) {
        return { ...machine, state: 'started' }
      }
      if (deadline.left() === 0) {
        return stateOf(machine.state) === 'starting' ? machine : { ...machine, state: 'starting' }
      }
      await sleep(Math.min(this.#retry.firstDelayMs, deadline.left()))
      machine = (await this.#get(machine.id, deadline)) ?? { ...machine, state: 'destroyed' }
    }
  }

  /** 412 means that it is started, starting or still stopping; reading it again shows which. */
  async #start(id: string, deadline: Deadline): Promise<void> {
    const options = { operation: 'starting a machine', deadline }
    await this.#ignoring([412], this.#request(options, 'POST', `/${id}/start`))
  }

  /** Creates a machine, or returns the one that already has the name. */
  async #create(name: string, config: MachineConfig, deadline: Deadline): Promise<FlyMachine> {
    const body = { name, region: this.#options.region, config: flyConfig(this.#options, config) }
    try {
      return await this.#request<FlyMachine>({ operation: 'creating a machine', deadline }, 'POST', '', body)
    } catch (error) {
      // Names are unique: an earlier attempt whose answer was lost, or another caller, has made it. The error contains its id.
      if (!(error instanceof HttpError) || (error.status !== 409 && error.status !== 422)) throw error
      const id = /machine ID (\w+) already exists/.exec(error.body)?.[1] ?? (await this.find(name, null))?.id
      const machine = id ? await this.#get(id, deadline) : null
      if (!machine) throw error
      return machine
    }
  }

  /** Destroys the machine, and waits until its name is free again. */
  async #destroyAndWait(machine: FlyMachine, deadline: Deadline): Promise<void> {
    if (machine.state !== 'destroyed') await this.destroy(machine.id)
    await this.#waitForState(machine, 'destroyed', deadline)
  }

  /** Whether the machine reaches the state before the deadline, and before Fly ends the wait. */
  async #waitForState(machine: FlyMachine, state: string, deadline: Deadline): Promise<boolean> {
    const most = Math.min(deadline.left(), this.#retry.transferMs) / 1000
    const seconds = Math.max(1, Math.min(WAIT_SECONDS, Math.floor(most)))
    const instance = machine.instance_id ? `&instance_id=${machine.instance_id}` : ''
    // Longer than the wait itself, so that Fly's own answer (408) arrives first.
    const timeout = seconds * 1000 + this.#retry.attemptMs
    try {
      const path = `/${machine.id}/wait?state=${state}&timeout=${seconds}${instance}`
      await this.#request({ operation: 'waiting for a machine', timeout, deadline }, 'GET', path)
      return true
    } catch (error) {
      if (error instanceof HttpError && [400, 404, 408, 409, 412].includes(error.status)) return false
      throw error
    }
  }

  async #get(id: string, deadline?: Deadline): Promise<FlyMachine | null> {
    try {
      return await this.#request<FlyMachine>({ operation: 'reading a machine', deadline }, 'GET', `/${id}`)
    } catch (error) {
      if (error instanceof HttpError && error.status === 404) return null
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

  /** Ignores answers with these statuses: they mean that nothing is left to do. */
  async #ignoring(statuses: number[], answer: Promise<unknown>): Promise<void> {
    try {
      await answer
    } catch (error) {
      if (!(error instanceof HttpError) || !statuses.includes(error.status)) throw error
    }
  }

  async #request<T>(options: Omit<RequestOptions, 'retry'>, method: string, path: string, body?: unknown): Promise<T> {
    const { api, app, token } = this.#options
    const init: RequestInit = {
      method,
      headers: { authorization: `Bearer ${token.reveal()}`, 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    }
    const build = (): [string, RequestInit] => [`${api}/apps/${app}/machines${path}`, init]
    return await request({ ...options, retry: this.#retry }, build, async (response) => {
      const text = await response.text()
      return (text === '' ? null : JSON.parse(text)) as T
    })
  }
}

function isGone(machine: FlyMachine): boolean {
  return machine.state === 'destroyed' || machine.state === 'destroying'
}

/** A machine that is stopping does not become started by itself. */
function isStopping(machine: FlyMachine): boolean {
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
    // created, starting, stopping, suspending, restarting, updating, replacing
    default:
      return 'starting'
  }
}
