import { CONSOLE_STATE_TEXTS, CONSOLE_STATE_TONES, type ConsoleState, phaseText, readable, type Tone } from './codes'
import { h } from './dom'
import type { AgentStatus, RemoteAgent } from './feed'
import { counted, duration, timeOfDay } from './format'
import { type ReceivedStatus, syncText } from './sync-state'

interface Fact {
  name: string
  value: string
  tone?: Tone
}

/** The state in words, one fact in a line. */
export class StatusPanel {
  private readonly list = h('dl', {})
  private shown = ''
  readonly element = h(
    'section',
    { class: 'card status', tabIndex: 0, 'aria-label': 'State' },
    h('h2', {}, 'State'),
    this.list,
  )

  /** `remoteAgents` is null where this program runs an agent itself. */
  show(
    state: ConsoleState,
    status: ReceivedStatus | null,
    remoteAgents: RemoteAgent[] | null,
    newestRevision: number,
  ): void {
    const facts: Fact[] = [{ name: 'Console', value: CONSOLE_STATE_TEXTS[state], tone: CONSOLE_STATE_TONES[state] }]
    if (remoteAgents) facts.push(...remoteFacts(remoteAgents))
    if (status) facts.push(...agentFacts(status, newestRevision))
    const key = JSON.stringify(facts)
    if (key === this.shown) return
    this.shown = key
    this.list.replaceChildren(...facts.map(factRow))
  }
}

function factRow({ name, value, tone }: Fact): HTMLElement {
  const lamp = tone && h('i', { class: `lamp ${tone}`, 'aria-hidden': 'true' })
  return h('div', {}, h('dt', {}, name), h('dd', {}, lamp, value))
}

function agentFacts(status: ReceivedStatus, newestRevision: number): Fact[] {
  const { agent } = status
  const { connection, degraded, debts, local_changes: localChanges } = agent
  const sync = syncText(status, newestRevision)
  const phase = phaseText(agent.phase)
  const degradedText = `, with limits: ${degraded.map(readable).join(', ')}`
  const facts: Fact[] = [
    {
      name: 'Agent',
      value: degraded.length > 0 ? phase + degradedText : phase,
      tone: degraded.length > 0 ? 'warn' : 'ok',
    },
    { name: 'Live updates', value: readable(connection.state), tone: connection.state === 'joined' ? 'ok' : 'warn' },
    { name: 'Revision', value: `${agent.revision} of ${agent.head ?? 'unknown'}, ${sync.text}`, tone: sync.tone },
    { name: 'Files', value: String(agent.files) },
    {
      name: 'Not on disk yet',
      value: debts.first.map((file) => `${file.file_path} (${readable(file.reason)})`).join(', ') || 'none',
      tone: debts.count > 0 ? 'bad' : 'ok',
    },
  ]
  if (localChanges !== undefined) {
    const count = Array.isArray(localChanges) ? localChanges.length : localChanges.count
    facts.push({ name: 'Changed by the project', value: count > 0 ? counted(count, 'file') : 'none' })
  }
  if (agent.dev_server) facts.push(devServerFact(agent.dev_server))
  if (connection.token_left_ms !== null)
    facts.push({ name: 'Token', value: `${duration(connection.token_left_ms)} left` })
  facts.push({ name: 'Running for', value: duration(agent.uptime_ms) })
  return facts
}

function devServerFact(server: NonNullable<AgentStatus['dev_server']>): Fact {
  const parts = [readable(server.state) + (server.pid ? ` (pid ${server.pid})` : '')]
  if (server.restarts > 0) parts.push(counted(server.restarts, 'restart'))
  const reason = server.reason ? `: ${server.detail ?? readable(server.reason)}` : ''
  return {
    name: 'Dev server',
    value: parts.join(', ') + reason,
    tone: server.state === 'serving' && !server.reason ? 'ok' : 'warn',
  }
}

function remoteFacts(agents: RemoteAgent[]): Fact[] {
  const facts: Fact[] = [{ name: 'Agent', value: 'none in this program: serve runs the backend only' }]
  if (agents.length === 0) {
    const value = 'none yet; an agent that is started with --publish-status appears here'
    facts.push({ name: 'Other agents', value })
  }
  for (const agent of agents) {
    const tone = agent.status?.phase === 'serving' ? 'ok' : 'warn'
    facts.push({ name: `Agent ${agent.session_id.slice(0, 8)}`, value: remoteText(agent), tone })
  }
  return facts
}

function remoteText({ status, applied, at_ms }: RemoteAgent): string {
  const revision = Math.max(status?.revision ?? 0, applied?.revision ?? 0)
  const parts = [
    status ? `${phaseText(status.phase)}, dev server ${readable(status.dev_server)}` : 'phase unknown',
    `revision ${revision}`,
  ]
  if (applied) parts.push(`last edit on disk after ${duration(applied.lag_ms)}`)
  return `${parts.join(', ')}; last message at ${timeOfDay(at_ms)}`
}
