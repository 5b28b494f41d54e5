import { SignJWT } from 'npm:jose@6.2.17'
import { LocalMachines } from '../_shared/local.ts'
import type { Machines } from '../_shared/machines.ts'
import { readSettings } from '../_shared/settings.ts'
import { type AgentScope, Tokens } from '../_shared/token.ts'
import { buildProjectSnapshot } from '../build-project-snapshot/handler.ts'
import { previewSession } from '../preview-session/handler.ts'

/** The settings from the environment; `cargo test --test agent functions` sets them. */
export const settings = Object.fromEntries(
  [
    'SUPABASE_URL',
    'SUPABASE_ANON_KEY',
    'SUPABASE_SERVICE_ROLE_KEY',
    'PREVIEW_JWT_SECRET',
    'PROJECT_ID',
    'EDITOR_TOKEN',
    'LOCAL_AGENT_BINARY',
    'LOCAL_MACHINES_DIR',
  ].map((name) => {
    const value = Deno.env.get(name)
    if (!value) throw new Error(`${name} is not set`)
    return [name, value]
  }),
) as Record<
  | 'SUPABASE_URL'
  | 'SUPABASE_ANON_KEY'
  | 'SUPABASE_SERVICE_ROLE_KEY'
  | 'PREVIEW_JWT_SECRET'
  | 'PROJECT_ID'
  | 'EDITOR_TOKEN'
  | 'LOCAL_AGENT_BINARY'
  | 'LOCAL_MACHINES_DIR',
  string
>

/** Serves both functions at one address, as the gateway does. */
export function serveFunctions(environment: Record<string, string>, machines?: Machines) {
  let handle: (request: Request) => Promise<Response> = () => Promise.resolve(new Response(null, { status: 503 }))
  const server = Deno.serve({ hostname: '127.0.0.1', port: 0, onListen: () => {} }, (request) => handle(request))
  const url = `http://127.0.0.1:${server.addr.port}/functions/v1`
  const all: Record<string, string> = { ...Deno.env.toObject(), FUNCTIONS_URL: url, ...environment }
  const read = readSettings((name) => all[name])
  const build = buildProjectSnapshot(read)
  const preview = previewSession(read, machines ?? LocalMachines.fromEnvironment((name) => all[name]))
  handle = (request) =>
    new URL(request.url).pathname.includes('/build-project-snapshot') ? build(request) : preview(request)
  const tokens = new Tokens(read)
  return {
    url,
    mint: async (scope: AgentScope) => (await tokens.mint(scope)).token,
    sign: (claims: Record<string, unknown>) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: 'HS256' })
        .setExpirationTime('1h')
        .sign(new TextEncoder().encode(settings.PREVIEW_JWT_SECRET)),
    stop: () => server.shutdown(),
  }
}

// biome-ignore lint/suspicious/noExplicitAny: tests compare any part of an answer
export type Answer = { status: number; body: any }

export async function post(url: string, token: string | null, body: unknown, method = 'POST'): Promise<Answer> {
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (token) headers.authorization = `Bearer ${token}`
  const response = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) })
  return { status: response.status, body: await response.json() }
}

/** Calls a database function with the editor's token. */
export async function rpc(
  name: string,
  args: Record<string, unknown>,
  token = settings.EDITOR_TOKEN,
): Promise<unknown> {
  const response = await fetch(`${settings.SUPABASE_URL}/rest/v1/rpc/${name}`, {
    method: 'POST',
    headers: {
      apikey: settings.SUPABASE_ANON_KEY,
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify(args),
  })
  const body = await response.json()
  if (!response.ok) throw new Error(`${name}: ${response.status} ${JSON.stringify(body)}`)
  return body
}

export function assert(holds: unknown, what = 'assertion failed'): asserts holds {
  if (!holds) throw new Error(what)
}

export function assertEquals(is: unknown, wanted: unknown, what = ''): void {
  const [a, b] = [JSON.stringify(is), JSON.stringify(wanted)]
  if (a !== b) throw new Error(`${a} is not ${b} ${what}`)
}

/** Waits until the condition is true, at most two minutes. */
export async function eventually(what: string, condition: () => Promise<boolean>): Promise<void> {
  const until = Date.now() + 120_000
  for (;;) {
    if (await condition().catch(() => false)) return
    if (Date.now() > until) throw new Error(`not within two minutes: ${what}`)
    await new Promise((done) => setTimeout(done, 100))
  }
}
