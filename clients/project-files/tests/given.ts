import type { Notice } from '@preview-agent/project-files'
import { type Options, ProjectFiles } from '@preview-agent/project-files'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

/** What the test's process was given by whoever started it. */
export function setting(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: run by cargo test --test agent editors`)
  return value
}

export const PROJECT = setting('PROJECT_ID')
export const URL_OF_BACKEND = setting('SUPABASE_URL')

const open: { close(): Promise<void> }[] = []

/** Whether the network is there for a client: its fetch, as a page's browser has it. */
export interface Network {
  /** Fails before the request leaves. */
  away: boolean
  /** So many answers to calls of these functions are lost: the database has done what was asked. */
  lose: Map<string, number>
  /** Run before a lost answer is told of, once. */
  meanwhile: (() => Promise<unknown>) | null
  /** The calls, by function or place. */
  calls: string[]
}

/** The official client of one editor, and the module on it. */
export function editor(options: Options & { token?: string; project?: string } = {}) {
  const { token = setting('EDITOR_TOKEN'), project = PROJECT, ...rest } = options
  const network: Network = { away: false, lose: new Map(), meanwhile: null, calls: [] }
  const client = createClient(URL_OF_BACKEND, setting('SUPABASE_ANON_KEY'), {
    accessToken: async () => token,
    realtime: { transport: WebSocket as never, reconnectAfterMs: () => 100 },
    global: { fetch: (input, init) => through(network, input, init) },
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

async function through(network: Network, input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const name = new URL(input instanceof Request ? input.url : input).pathname.split('/').at(-1) ?? ''
  network.calls.push(name)
  if (network.away) throw new TypeError('fetch failed')
  const answer = await fetch(input, init)
  const left = network.lose.get(name) ?? 0
  if (left === 0) return answer
  network.lose.set(name, left - 1)
  await answer.arrayBuffer()
  const meanwhile = network.meanwhile
  network.meanwhile = null
  await meanwhile?.()
  throw new TypeError('fetch failed')
}

export async function closeAll(): Promise<void> {
  await faults({ clear: true })
  await Promise.all(open.splice(0).map((one) => one.close()))
}

/** The backend's switchboard. */
export async function faults(change: Record<string, unknown>): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(`${URL_OF_BACKEND}/_local/faults`, {
    method: 'POST',
    headers,
    body: JSON.stringify(change),
  })
  if (!answer.ok) throw new Error(await answer.text())
}

/** Subscribes, and is live when it resolves. */
export async function following(files: ProjectFiles): Promise<Notice[]> {
  const notices: Notice[] = []
  files.subscribe((notice) => notices.push(notice))
  await until('live', () => notices.some((notice) => notice.kind === 'live' && notice.state === 'live'))
  return notices
}

/** Waits for what may take a while on a busy machine. */
export async function until(what: string, holds: () => boolean, ms = 30_000): Promise<void> {
  const end = Date.now() + ms
  while (!holds()) {
    if (Date.now() > end) throw new Error(`after ${ms} ms still not: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
