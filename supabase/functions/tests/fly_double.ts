import { Faults } from './faults.ts'
import { problemsOfCreate, problemsOfStop } from './fly_shapes.ts'

const TOKEN = 'fo1_of-the-double'
/** Requests a second, and the burst: for each action of each machine, or of the app for actions without a machine. */
const LIMITS = { get: [5, 10], other: [1, 3] } as const
const WAITED_FOR = ['started', 'stopped', 'suspended', 'destroyed', 'failed', 'settled']

export interface DoubleMachine {
  id: string
  name: string
  state: string
  region: string
  instance_id: string
  // biome-ignore lint/suspicious/noExplicitAny: its shape is checked by problemsOfCreate
  config: any
}

interface Lease {
  nonce: string
  until: number
}

/**
 * Fly's Machines API as it is documented, for one app. The machines only change their states. Unlike the real API it refuses
 * unknown fields. It cannot show how long real machines take, or what they run.
 */
export class FlyDouble {
  readonly faults = new Faults()
  readonly machines: Map<string, DoubleMachine>
  readonly url: string
  /** Strings that must not occur in a request's body, and the bodies in which one occurred. */
  readonly forbidden: string[] = []
  readonly leaks: string[] = []
  /** The states in which the next starts end, in place of `started`. */
  readonly ends: string[] = []
  /** Milliseconds from one state to the next. */
  stepMs = 2
  /** Multiplies the rate limits, which most tests should not meet. */
  rate = 1000
  readonly #leases = new Map<string, Lease>()
  readonly #buckets = new Map<string, { left: number; at: number }>()
  readonly #timers = new Set<ReturnType<typeof setTimeout>>()
  readonly #server: Deno.HttpServer
  readonly app = 'previews-test'

  /** With `other`, a second server for the same machines, with separate faults and limits. */
  constructor(other?: FlyDouble) {
    this.machines = other?.machines ?? new Map()
    const options = { hostname: '127.0.0.1', port: 0, onListen: () => {} }
    const server = Deno.serve(options, (request) => this.#answer(request))
    this.#server = server
    this.url = `http://127.0.0.1:${server.addr.port}`
  }

  /** The settings with which the functions use this double. */
  environment(): Record<string, string> {
    return {
      MACHINES_PROVIDER: 'fly',
      FLY_API_URL: `${this.url}/v1`,
      FLY_APP: this.app,
      FLY_API_TOKEN: TOKEN,
      FLY_IMAGE: 'registry.fly.io/previews-test:latest',
      FLY_REGION_WANTED: 'fra',
      FLY_PREVIEW_URL: 'https://{machine}.previews.example/',
    }
  }

  /** Makes a started machine, as the API would. */
  async launch(name: string): Promise<DoubleMachine> {
    const config = { image: 'registry.fly.io/previews-test:latest', metadata: {} }
    const { id } = await this.#create(JSON.stringify({ name, region: 'fra', config })).json()
    const machine = this.machines.get(id)!
    machine.state = 'started'
    return machine
  }

  /**
   * What Fly's proxy does with the header `fly-replay` of an answer: it starts the machine if needed, and sends the request to
   * it. Returns the machine's id, or null where no machine of the app has that id.
   */
  async replay(header: string): Promise<string | null> {
    const fields = new Map(header.split(';').map((field) => field.split('=') as [string, string]))
    if (fields.get('app') !== this.app) return null
    const machine = this.machines.get(fields.get('instance') ?? '')
    if (!machine || machine.state.startsWith('destroy')) return null
    if (machine.state === 'stopped' || machine.state === 'suspended') this.#start(machine)
    for (const until = Date.now() + 5_000; machine.state !== 'started' && Date.now() < until; ) {
      await new Promise((done) => setTimeout(done, 2))
    }
    return machine.state === 'started' ? machine.id : null
  }

  /** Machines that are not destroyed, of these sessions or of all. */
  alive(sessions?: string[]): DoubleMachine[] {
    return [...this.machines.values()]
      .filter((one) => one.state !== 'destroyed' && one.state !== 'destroying')
      .filter((one) => !sessions || sessions.includes(one.config.metadata?.session_id))
  }

  /** Another client, such as a deployment, holds a lease of the machine from now on. */
  lease(id: string, milliseconds = 60_000): void {
    this.#leases.set(id, { nonce: crypto.randomUUID(), until: Date.now() + milliseconds })
  }

  release(id: string): void {
    this.#leases.delete(id)
  }

  async stop(): Promise<void> {
    await this.faults.clear()
    for (const timer of this.#timers) clearTimeout(timer)
    await this.#server.shutdown()
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url)
    const [version, apps, app, machines, id, action] = url.pathname.split('/').slice(1)
    if (version !== 'v1' || apps !== 'apps' || machines !== 'machines') return refuse(404, 'not found')
    const operation = operationOf(request.method, id, action)
    if (!operation) return refuse(405, 'method not allowed')
    // Read first: a late effect happens after the caller has gone.
    const body = await request.text()
    return await this.faults.run(operation, async () => {
      if (request.headers.get('authorization') !== `Bearer ${TOKEN}`) {
        return refuse(401, 'Authenticate: token validation error')
      }
      if (app !== this.app) return refuse(404, `app not found: ${app}`)
      if (this.#isLimited(operation, id ?? this.app)) return refuse(429, 'rate limit exceeded')
      const leak = this.forbidden.some((one) => body.includes(one))
      if (leak) this.leaks.push(`${operation}: ${body}`)
      if (operation === 'create') return this.#create(body)
      if (operation === 'list') return this.#list(url.searchParams)
      const machine = this.machines.get(id ?? '')
      if (!machine) return refuse(404, 'machine not found')
      const lease = this.#leases.get(machine.id)
      const held = lease && lease.until > Date.now() && lease.nonce !== request.headers.get('fly-machine-lease-nonce')
      if (held && ['start', 'stop', 'suspend', 'destroy'].includes(operation)) {
        return refuse(409, `machine ID ${machine.id} lease currently held by other@example.com, expires later`)
      }
      switch (operation) {
        case 'get':
          return Response.json(shown(machine))
        case 'wait':
          return await this.#wait(machine, url.searchParams)
        case 'start':
          return this.#start(machine)
        case 'stop':
          return this.#stop(machine, body)
        case 'suspend':
          return this.#suspend(machine)
        default:
          return this.#destroy(machine, url.searchParams)
      }
    })
  }

  #create(body: string): Response {
    const fields = parsed(body)
    const problems = problemsOfCreate(fields)
    if (problems.length > 0) return refuse(400, `invalid request: ${problems.join('; ')}`)
    const { name, region = 'fra', config, skip_launch: unstarted } = fields as DoubleMachine & { skip_launch?: boolean }
    const other = [...this.machines.values()].find((one) => one.name === name && one.state !== 'destroyed')
    if (other) {
      const message = `unique machine name violation, machine ID ${other.id} already exists with name "${name}"`
      return refuse(409, `already_exists: ${message}`)
    }
    const made = this.machines.size + 1
    const id = (0xd0000000000000n + BigInt(made)).toString(16)
    const instance_id = `01H${String(made).padStart(23, '0')}`
    const machine = { id, name: name ?? `aged-wind-${made}`, state: 'created', region, instance_id, config }
    this.machines.set(id, machine)
    if (!unstarted) this.#advance(machine, 'starting', this.ends.shift() ?? 'started')
    return Response.json(shown(machine))
  }

  #list(query: URLSearchParams): Response {
    const wanted = [...query].filter(([name]) => name.startsWith('metadata.'))
    const all = [...this.machines.values()].filter(
      (one) =>
        (one.state !== 'destroyed' || query.get('include_deleted') === 'true') &&
        wanted.every(([name, value]) => one.config.metadata?.[name.slice('metadata.'.length)] === value),
    )
    return Response.json(all.map(shown))
  }

  async #wait(machine: DoubleMachine, query: URLSearchParams): Promise<Response> {
    const state = query.get('state') ?? 'started'
    const timeout = Number(query.get('timeout') ?? 60)
    const instance = query.get('instance_id')
    if (!WAITED_FOR.includes(state)) return refuse(400, `invalid_argument: unknown state ${state}`)
    if (!Number.isInteger(timeout) || timeout < 1 || timeout > 60) return refuse(400, 'invalid_argument: timeout')
    if (state === 'stopped' && !instance) return refuse(400, 'invalid_argument: instance_id is required')
    if (instance && instance !== machine.instance_id) return refuse(400, 'invalid_argument: machine version replaced')
    for (const until = Date.now() + timeout * 1000; Date.now() < until; ) {
      if (machine.state === state) return Response.json({ ok: true })
      await new Promise((done) => setTimeout(done, 2))
    }
    return refuse(408, `deadline_exceeded: machine did not reach ${state} in ${timeout}s`)
  }

  #start(machine: DoubleMachine): Response {
    const { state } = machine
    if (state === 'replacing') return refuse(412, 'failed_precondition: machine getting replaced, refusing to start')
    if (!['stopped', 'suspended', 'failed'].includes(state)) {
      return refuse(412, `failed_precondition: unable to start machine from current state: '${state}'`)
    }
    machine.state = 'starting'
    this.#advance(machine, this.ends.shift() ?? 'started')
    return Response.json({ previous_state: state, migrated: false, new_host: '' })
  }

  #stop(machine: DoubleMachine, body: string): Response {
    const problems = body === '' ? [] : problemsOfStop(parsed(body))
    if (problems.length > 0) return refuse(400, `invalid request: ${problems.join('; ')}`)
    if (!['started', 'stopped', 'suspended'].includes(machine.state)) {
      return refuse(412, `failed_precondition: unable to stop machine from current state: '${machine.state}'`)
    }
    machine.state = 'stopping'
    this.#advance(machine, 'stopped')
    return Response.json({ ok: true })
  }

  #suspend(machine: DoubleMachine): Response {
    if (machine.state !== 'started' || machine.config.guest.memory_mb > 2048) {
      return refuse(412, `failed_precondition: unable to suspend machine from current state: '${machine.state}'`)
    }
    machine.state = 'suspending'
    this.#advance(machine, 'suspended')
    return Response.json({ ok: true })
  }

  #destroy(machine: DoubleMachine, query: URLSearchParams): Response {
    if (machine.state === 'destroyed') return refuse(404, 'machine not found')
    if (query.get('force') !== 'true' && machine.state !== 'stopped') {
      return refuse(412, `failed_precondition: unable to destroy machine from current state: '${machine.state}'`)
    }
    machine.state = 'destroying'
    this.#advance(machine, 'destroyed')
    return Response.json({ ok: true })
  }

  /** Moves the machine through these states, one after the other. A destroyed machine stays destroyed. */
  #advance(machine: DoubleMachine, ...states: string[]): void {
    const [next, ...rest] = states
    if (!next) return
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      const isOver = machine.state.startsWith('destroy') && next !== 'destroyed'
      if (isOver || machine.state === 'destroyed') return
      machine.state = next
      this.#advance(machine, ...rest)
    }, this.stepMs)
    this.#timers.add(timer)
  }

  #isLimited(operation: string, id: string): boolean {
    const [persecond, burst] = operation === 'get' ? LIMITS.get : LIMITS.other
    const now = performance.now()
    const bucket = this.#buckets.get(`${operation} ${id}`) ?? { left: burst * this.rate, at: now }
    const left = Math.min(burst * this.rate, bucket.left + ((now - bucket.at) / 1000) * persecond * this.rate)
    const isLimited = left < 1
    this.#buckets.set(`${operation} ${id}`, { left: isLimited ? left : left - 1, at: now })
    return isLimited
  }
}

function operationOf(method: string, id?: string, action?: string): string | null {
  const place = `${method}${id ? '' : ' app'}${action ? ` ${action}` : ''}`
  const operations: Record<string, string> = {
    'POST app': 'create',
    'GET app': 'list',
    GET: 'get',
    'GET wait': 'wait',
    'POST start': 'start',
    'POST stop': 'stop',
    'POST suspend': 'suspend',
    DELETE: 'destroy',
  }
  return operations[place] ?? null
}

function shown(machine: DoubleMachine): DoubleMachine & { created_at: string } {
  return { ...machine, created_at: '2026-01-01T00:00:00Z' }
}

function refuse(status: number, error: string): Response {
  return Response.json({ error }, { status })
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return null
  }
}
