import { feedAddress, isOurs, keyHeaders } from './key'

/** What the page needs to begin. */
export interface Session {
  run: string
  project_id: string
  anon_key: string
  editor_token: string
  folder: string | null
  preview_url: string | null
  /** The same pages, which tell when they have changed. */
  window_url: string | null
}

/** What the agent says of itself, as its `/status` does. */
export interface AgentStatus {
  phase: string
  degraded: string[]
  revision: number
  head: number | null
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

/** The switches of trouble that the page knows; there are more. */
export interface Faults {
  refuse_connections: number | null
  drop_broadcasts: { next: number; probability: number }
  fail_reads: unknown
}

/** What an agent elsewhere has told on the status topic. */
export interface Told {
  session_id: string
  status: { phase: string; revision: number; dev_server: string; detail?: string; at: string } | null
  applied: { revision: number; lag_ms: number; at: string } | null
  /** When it was last heard, in Unix milliseconds. */
  at_ms: number
}

export interface State {
  agent: AgentStatus | null
  /** Of `serve`, which has no agent of its own. */
  agents: Told[]
  faults: Faults
}

/** A line of the log: the fields of its event beside these. */
export interface LogLine {
  timestamp: string
  level: string
  message: string
  event_type: string
  [field: string]: unknown
}

export interface Listener {
  /** Another run began: nothing of the one before holds. */
  begun(session: Session): void
  state(state: State): void
  line(line: LogLine): void
  /** Whether the program answers. */
  reachable(yes: boolean): void
  /** Who answers does not know this page's key, or the page has none. */
  locked(): void
}

/** How long to wait before asking again for a program that has ended. */
const RETRY_MS = 1000

/** Follows the run's log and state, and those of the next run after a restart. */
export function follow(listener: Listener): void {
  let run = ''
  const later = () => {
    listener.reachable(false)
    setTimeout(connect, RETRY_MS)
  }
  const connect = () => void isOurs().then((ours) => (ours ? open() : locked()), later)
  const locked = () => {
    listener.locked()
    setTimeout(connect, 5 * RETRY_MS)
  }
  const open = () => {
    const source = new EventSource(feedAddress)
    const again = () => {
      source.close()
      later()
    }
    // What comes before the session is known waits for it.
    let begun = Promise.resolve()
    const when = (act: () => void) => void begun.then(act, () => {})
    source.addEventListener('hello', (event) => {
      begun = begin(event.data)
      begun.catch(again)
    })
    source.addEventListener('status', (event) => when(() => listener.state(JSON.parse(event.data))))
    source.addEventListener('log', (event) => when(() => listener.line(JSON.parse(event.data))))
    source.onerror = again
  }
  const begin = async (name: string) => {
    if (name !== run) {
      const session = await fetchSession()
      run = name
      listener.begun(session)
    }
    listener.reachable(true)
  }
  connect()
}

async function fetchSession(): Promise<Session> {
  const answer = await fetch('console/session', { headers: keyHeaders })
  if (!answer.ok) throw new Error(`the session: ${answer.status}`)
  return answer.json()
}
