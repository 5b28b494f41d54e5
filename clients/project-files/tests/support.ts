import type { Notice } from '@preview-agent/project-files'
import { type Options, ProjectFiles } from '@preview-agent/project-files'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

/** A setting from the environment; `cargo test --test agent editors` sets them all. */
export function setting(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: run by cargo test --test agent editors`)
  return value
}

export const PROJECT = setting('PROJECT_ID')
export const URL_OF_BACKEND = setting('SUPABASE_URL')

const open: { close(): Promise<void> }[] = []

/** Controls the `fetch` of a client. */
export interface Network {
  /** Requests fail before they are sent. */
  down: boolean
  /** Function to the number of its answers that are lost; the database has executed the call. */
  lose: Map<string, number>
  /** Run once, between the execution of a call and the loss of its answer. */
  beforeLoss: (() => Promise<unknown>) | null
  /** The last path segments of all requests. */
  calls: string[]
}

/** The official client of one editor, and `ProjectFiles` over it. */
export function editor(options: Options & { token?: string; project?: string } = {}) {
  const { token = setting('EDITOR_TOKEN'), project = PROJECT, ...rest } = options
  const network: Network = { down: false, lose: new Map(), beforeLoss: null, calls: [] }
  const client = createClient(URL_OF_BACKEND, setting('SUPABASE_ANON_KEY'), {
    accessToken: async () => token,
    realtime: { transport: WebSocket as never, reconnectAfterMs: () => 100 },
    global: { fetch: (input, init) => controlledFetch(network, input, init) },
  })
  const files = new ProjectFiles(client, project, { retry: { baseMs: 20, capMs: 200 }, headCheckMs: 500, ...rest })
  open.push({
    close: async () => {
      await files.close()
      await client.removeAllChannels()
      await client.realtime.disconnect()
    },
  })
  return { files, client, network }
}

async function controlledFetch(network: Network, input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const name = new URL(input instanceof Request ? input.url : input).pathname.split('/').at(-1) ?? ''
  network.calls.push(name)
  if (network.down) throw new TypeError('fetch failed')
  const answer = await fetch(input, init)
  const left = network.lose.get(name) ?? 0
  if (left === 0) return answer
  network.lose.set(name, left - 1)
  await answer.arrayBuffer()
  const beforeLoss = network.beforeLoss
  network.beforeLoss = null
  await beforeLoss?.()
  throw new TypeError('fetch failed')
}

export async function closeAll(): Promise<void> {
  await faults({ clear: true })
  await Promise.all(open.splice(0).map((one) => one.close()))
}

/** Changes the backend's fault switches. */
export async function faults(change: Record<string, unknown>): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(`${URL_OF_BACKEND}/_local/faults`, {
    method: 'POST',
    headers,
    body: JSON.stringify(change),
  })
  if (!answer.ok) throw new Error(await answer.text())
}

/** Subscribes, and resolves when the channel is live. */
export async function following(files: ProjectFiles): Promise<Notice[]> {
  const notices: Notice[] = []
  files.subscribe((notice) => notices.push(notice))
  await until('live', () => notices.some((notice) => notice.kind === 'channel' && notice.state === 'live'))
  return notices
}

/** Waits until `condition` is true; the deadline allows for a busy machine. */
export async function until(what: string, condition: () => boolean, ms = 30_000): Promise<void> {
  const end = Date.now() + ms
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
