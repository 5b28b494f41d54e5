import { feedAddress, keyHeaders, serverKnowsKey } from './console-key'
import type { ProblemsReport } from './problems'

/** What the page needs to begin. */
export interface Session {
  run: string
  project_id: string
  anon_key: string
  editor_token: string
  folder: string | null
  preview_url: string | null
  /** The preview's pages with the preview frame script, which reports when a page has changed. */
  frame_url: string | null
}

/** The agent's state, in the form of its `/status`. */
export interface AgentStatus {
  phase: string
  degraded: string[]
  revision: number
  head: number | null
  /** How long ago the agent saw the head in the database; null: not yet. Older agents do not say. */
  head_age_ms?: number | null
  current: boolean
  files: number
  held_events: number
  uptime_ms: number
  debts: { count: number; first: { file_path: string; reason: string; error: string }[] }
  local_changes?: { count: number } | unknown[]
  connection: { state: string; token_left_ms: number | null }
  dev_server: {
    state: string
    pid: number | null
    restarts: number
    installing: boolean
    reason: string | null
    detail: string | null
    command: string | null
  } | null
  boot_ms: Record<string, number>
  last_errors: unknown[]
  isolation: string
}

/** The fault switches that the page uses; the backend has more. */
export interface Faults {
  refuse_connections: number | null
  drop_broadcasts: { next: number; probability: number }
  fail_reads: unknown
}

/** What an agent in another process has published on the status topic. */
export interface RemoteAgent {
  session_id: string
  status: { phase: string; revision: number; dev_server: string; detail?: string; at: string } | null
  applied: { revision: number; lag_ms: number; at: string } | null
  /** When its last message arrived, in Unix milliseconds. */
  at_ms: number
}

export interface FeedState {
  agent: AgentStatus | null
  /** Null where this program runs no agent. */
  problems: ProblemsReport | null
  /** Only of `serve`, which runs no agent itself. */
  agents: RemoteAgent[]
  faults: Faults
}

/** A line of the log. The event's own fields are beside these. */
export interface LogLine {
  timestamp: string
  level: string
  message: string
  event_type: string
  [field: string]: unknown
}

export interface FeedListener {
  /** Another run of the program began: nothing of the run before is valid. */
  onSession(session: Session): void
  onState(state: FeedState): void
  onLogLine(line: LogLine): void
  /** Whether the program answers. */
  onReachable(reachable: boolean): void
  /** The program that answers does not know this page's key, or the page has none. */
  onLocked(): void
}

/** How long after the program stopped answering it is asked again. Milliseconds. */
const RETRY_MS = 1000

/** Follows the log and the state of this run, and of the next runs after a restart. */
export function followFeed(listener: FeedListener): void {
  let run = ''
  const retry = () => {
    listener.onReachable(false)
    setTimeout(connect, RETRY_MS)
  }
  const connect = () => void serverKnowsKey().then((known) => (known ? open() : locked()), retry)
  const locked = () => {
    listener.onLocked()
    setTimeout(connect, 5 * RETRY_MS)
  }
  const open = () => {
    const source = new EventSource(feedAddress)
    const reconnect = () => {
      source.close()
      retry()
    }
    // Messages that arrive before the session is known wait for it.
    let begun = Promise.resolve()
    const afterBegin = (act: () => void) => void begun.then(act, () => {})
    source.addEventListener('hello', (event) => {
      begun = begin(event.data)
      begun.catch(reconnect)
    })
    source.addEventListener('status', (event) => afterBegin(() => listener.onState(JSON.parse(event.data))))
    source.addEventListener('log', (event) => afterBegin(() => listener.onLogLine(JSON.parse(event.data))))
    source.onerror = reconnect
  }
  const begin = async (name: string) => {
    if (name !== run) {
      const session = await fetchSession()
      run = name
      listener.onSession(session)
    }
    listener.onReachable(true)
  }
  connect()
}

async function fetchSession(): Promise<Session> {
  const answer = await fetch('console/session', { headers: keyHeaders })
  if (!answer.ok) throw new Error(`cannot read the session: HTTP ${answer.status}`)
  return answer.json()
}
