import { SignJWT } from 'npm:jose@6.2.17'
import { FlyMachines } from '../_shared/fly.ts'
import type { RetryPolicy } from '../_shared/http.ts'
import { readSettings } from '../_shared/settings.ts'
import { buildProjectSnapshot } from '../build-project-snapshot/handler.ts'
import { previewSession } from '../preview-session/handler.ts'
import { Faults } from './faults.ts'
import { FlyDouble } from './fly_double.ts'
import { type Answer, assertEquals, post, settings } from './support.ts'

export const { PROJECT_ID: project, SUPABASE_SERVICE_ROLE_KEY: service } = settings

/** Short delays: a lasting failure is found within two seconds. */
export const FAST_RETRY: RetryPolicy = {
  attempts: 3,
  firstDelayMs: 4,
  maxDelayMs: 20,
  attemptMs: 250,
  transferMs: 500,
  totalMs: 1_500,
}
/** Long timeouts, for steps that must not fail on a busy machine. */
export const SLOW_RETRY: RetryPolicy = { ...FAST_RETRY, attemptMs: 30_000, transferMs: 30_000, totalMs: 60_000 }

const gateways: Gateway[] = []
/** One server for all gateways, each under its own path: machines are assigned to a backend by the host of its address. */
const server = Deno.serve({ hostname: '127.0.0.1', port: 0, onListen: () => {} }, async (request) => {
  const { pathname, search } = new URL(request.url)
  const [, number, ...rest] = pathname.split('/')
  return await gateways[Number(number)]!.answer(request, `/${rest.join('/')}`, search)
})

/** A gateway to the backend in which each operation can fail: `rpc NAME` and `storage VERB`. */
class Gateway {
  readonly faults = new Faults()
  readonly url = `http://127.0.0.1:${server.addr.port}/${gateways.push(this) - 1}`

  async answer(request: Request, pathname: string, search: string): Promise<Response> {
    // Read first: a late effect happens after the caller has gone.
    const body = request.method === 'GET' ? undefined : await request.arrayBuffer()
    const { method, headers } = request
    return await this.faults.run(operationOf(method, pathname), () =>
      fetch(settings.SUPABASE_URL + pathname + search, { method, headers, body }),
    )
  }
}

function operationOf(method: string, path: string): string {
  const [, , , name] = path.split('/').slice(1)
  if (path.startsWith('/rest/v1/rpc/')) return `rpc ${name}`
  if (!path.startsWith('/storage/v1/object/')) return 'other'
  const verb = ['list', 'sign', 'authenticated'].find((one) => one === name)
  return `storage ${verb ?? (method === 'DELETE' ? 'remove' : 'upload')}`
}

/** Both functions behind one address, with the Fly double for machines. Everything that they use can fail. */
export class World {
  readonly fly: FlyDouble
  readonly gateway = new Gateway()
  readonly url: string
  readonly #server: Deno.HttpServer
  #withoutFaults: World | undefined

  /** With `other`, for the same machines, with separate faults. */
  constructor(retry = SLOW_RETRY, environment: Record<string, string> = {}, other?: World) {
    this.fly = new FlyDouble(other?.fly)
    const options = { hostname: '127.0.0.1', port: 0, onListen: () => {} }
    // The handlers need the address of this server, so they are made after it.
    const functions = Deno.serve(options, (request) => handle(request))
    this.#server = functions
    this.url = `http://127.0.0.1:${functions.addr.port}/functions/v1`
    const all: Record<string, string> = { ...this.environment(), ...environment }
    const read = readSettings((name) => all[name], retry)
    const build = buildProjectSnapshot(read)
    const preview = previewSession(
      read,
      FlyMachines.fromEnvironment((name) => all[name], retry),
    )
    const handle = (request: Request) =>
      request.url.includes('/build-project-snapshot') ? build(request) : preview(request)
    this.fly.forbidden.push(service, settings.PREVIEW_JWT_SECRET, all.FLY_API_TOKEN!)
  }

  /** The environment of the functions. */
  environment(): Record<string, string> {
    return {
      ...Deno.env.toObject(),
      ...this.fly.environment(),
      SUPABASE_URL: this.gateway.url,
      FUNCTIONS_URL: this.url,
    }
  }

  /** Ends all faults. */
  async clear(): Promise<void> {
    await Promise.all([this.fly.faults.clear(), this.gateway.faults.clear()])
  }

  /** A world for the same machines and sessions without faults and with long timeouts. */
  withoutFaults(): World {
    this.#withoutFaults ??= new World(SLOW_RETRY, {}, this)
    return this.#withoutFaults
  }

  async open(token: string, more: Record<string, unknown> = {}): Promise<Answer> {
    return await post(`${this.url}/preview-session`, token, { project_id: project, ...more })
  }

  async status(token: string, id: string): Promise<Answer> {
    return await post(`${this.url}/preview-session/${id}`, token, undefined, 'GET')
  }

  async end(token: string, id: string): Promise<Answer> {
    return await post(`${this.url}/preview-session/${id}`, token, undefined, 'DELETE')
  }

  async sweep(): Promise<Answer> {
    return await post(`${this.url}/preview-session/sweep`, service, {})
  }

  async stop(): Promise<void> {
    await this.#withoutFaults?.stop()
    await this.gateway.faults.clear()
    await this.#server.shutdown()
    await this.fly.stop()
    assertEquals(this.fly.leaks, [], 'secrets in requests to Fly')
  }
}

/** Runs a test with a new world. */
export async function inWorld(
  test: (world: World) => Promise<void>,
  retry = SLOW_RETRY,
  environment: Record<string, string> = {},
): Promise<void> {
  const world = new World(retry, environment)
  try {
    await test(world)
  } finally {
    await world.stop()
    // The sweeps of the next test must not find them.
    await rows('preview_sessions', 'state=neq.ended', { state: 'ended', ended_at: new Date().toISOString() })
  }
}

export interface Person {
  id: string
  token: string
}

/** A person with the right to write the project and without a session. The count is in the environment, which all test files share. */
export async function person(): Promise<Person> {
  const number = Number(Deno.env.get('PEOPLE_TAKEN') ?? 0) + 1
  Deno.env.set('PEOPLE_TAKEN', String(number))
  const id = `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`
  const secret = new TextEncoder().encode(settings.PREVIEW_JWT_SECRET)
  const claims = new SignJWT({ role: 'authenticated', sub: id }).setProtectedHeader({ alg: 'HS256' })
  return { id, token: await claims.setExpirationTime('1h').sign(secret) }
}

// biome-ignore lint/suspicious/noExplicitAny: rows of any table
export type Row = any

/** Rows of a table, read as the service. With `change` they are changed or deleted first. */
export async function rows(table: string, filter: string, change?: Record<string, unknown> | 'delete'): Promise<Row[]> {
  const key = { apikey: service, authorization: `Bearer ${service}` }
  const headers = { ...key, 'content-type': 'application/json', prefer: 'return=representation' }
  const init =
    change === 'delete' ? { method: 'DELETE' } : change ? { method: 'PATCH', body: JSON.stringify(change) } : {}
  const response = await fetch(`${settings.SUPABASE_URL}/rest/v1/${table}?${filter}`, { ...init, headers })
  const body = await response.json()
  if (!response.ok) throw new Error(`${table}?${filter}: ${response.status} ${JSON.stringify(body)}`)
  return body
}

/** Removes the person's right to the project. */
export async function removeRight(id: string): Promise<void> {
  assertEquals((await rows('project_members', `project_id=eq.${project}&user_id=eq.${id}`, 'delete')).length, 1)
}

/** The person's sessions, the oldest first. */
export async function sessionsOf(id: string): Promise<Row[]> {
  const all = await rows('preview_sessions', `owner_id=eq.${id}`)
  return all.sort((a, b) => (a.created_at < b.created_at ? -1 : 1))
}

/** Moves the session's times back, as if so many seconds had passed. */
export async function passTime(id: string, seconds: number): Promise<void> {
  const [session] = await rows('preview_sessions', `id=eq.${id}`)
  const earlier = (at: string) => new Date(Date.parse(at) - seconds * 1000).toISOString()
  const change = { lease_until: earlier(session.lease_until), used_at: earlier(session.used_at) }
  await rows('preview_sessions', `id=eq.${id}`, change)
}
