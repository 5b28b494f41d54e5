import { clock, h, span } from './dom'
import type { AgentStatus, Faults, LogLine, State, Told } from './feed'
import { keyHeaders } from './key'
import { said } from './project'

const KEPT = 400

/** The agent's state in words, one fact a line. */
export class Facts {
  private readonly list = h('dl', {})
  readonly element = h(
    'section',
    { class: 'card facts', tabIndex: 0, 'aria-label': 'State' },
    h('h2', {}, 'State'),
    this.list,
  )

  /** `elsewhere`: there is no agent in this program; those that have told of themselves. */
  show(agent: AgentStatus | null, live: string, elsewhere: Told[] | null): void {
    const facts: [string, string, ('ok' | 'warn' | 'bad')?][] = [['Console', live, live === 'live' ? 'ok' : 'warn']]
    if (elsewhere) {
      facts.push(['Agent', 'none here: serve is the backend alone'])
      if (!elsewhere.length)
        facts.push(['Elsewhere', 'none heard of; an agent started with --publish-status tells its state here'])
      for (const told of elsewhere)
        facts.push([
          `Agent ${told.session_id.slice(0, 8)}`,
          inWords(told),
          told.status?.phase === 'serving' ? 'ok' : 'warn',
        ])
    }
    if (agent) {
      const server = agent.dev_server
      const state = agent.connection.state
      facts.push(
        [
          'Phase',
          agent.degraded.length ? `${agent.phase}, degraded: ${agent.degraded.join(', ')}` : agent.phase,
          agent.degraded.length ? 'warn' : 'ok',
        ],
        ['Channel', state, state === 'joined' ? 'ok' : 'warn'],
        [
          'Revision',
          `${agent.revision} of ${agent.head ?? '?'}${agent.current ? ', in sync' : ''}`,
          agent.current ? 'ok' : 'warn',
        ],
        ['Files', `${agent.files}`],
        [
          'Debts',
          agent.debts.count ? agent.debts.first.map((debt) => `${debt.file_path} (${debt.reason})`).join(', ') : 'none',
          agent.debts.count ? 'bad' : 'ok',
        ],
      )
      if (agent.local_changes !== undefined) facts.push(['Local changes', changes(agent.local_changes)])
      if (server) {
        const restarts = server.restarts ? `, ${server.restarts} restart${server.restarts > 1 ? 's' : ''}` : ''
        const why = server.reason ? `: ${server.detail ?? server.reason}` : ''
        facts.push([
          'Dev server',
          `${server.state}${server.pid ? ` (pid ${server.pid})` : ''}${restarts}${why}`,
          server.state === 'serving' && !server.reason ? 'ok' : 'warn',
        ])
      }
      if (agent.connection.token_left_ms !== null) facts.push(['Token', `${span(agent.connection.token_left_ms)} left`])
      facts.push(['Up', span(agent.uptime_ms)])
    }
    this.list.replaceChildren(
      ...facts.map(([name, value, tone]) =>
        h(
          'div',
          {},
          h('dt', {}, name),
          h('dd', {}, tone && h('i', { class: `lamp ${tone}`, 'aria-hidden': 'true' }), value),
        ),
      ),
    )
  }
}

function inWords({ status, applied, at_ms }: Told): string {
  const revision = Math.max(status?.revision ?? 0, applied?.revision ?? 0)
  const parts = [
    status ? `${status.phase}, dev server ${status.dev_server.replace('_', ' ')}` : 'phase not told yet',
    `revision ${revision}`,
  ]
  if (applied) parts.push(`last edit on disk in ${span(applied.lag_ms)}`)
  return `${parts.join(', ')}; heard at ${clock(at_ms)}`
}

function changes(local: NonNullable<AgentStatus['local_changes']>): string {
  const count = Array.isArray(local) ? local.length : Number((local as { count: number }).count)
  return count ? `${count} file${count > 1 ? 's' : ''}` : 'none'
}

/** The log's last lines, the dev server's among them. */
export class Log {
  private readonly list = h('div', { class: 'lines', tabIndex: 0, role: 'log', 'aria-label': 'Log lines' })
  readonly element = h('section', { class: 'card log', 'aria-label': 'Log' }, h('h2', {}, 'Log'), this.list)

  clear(): void {
    this.list.replaceChildren()
  }

  line(line: LogLine): void {
    const { list } = this
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40
    const kind = line.stream ? 'output' : line.level
    list.append(
      h(
        'div',
        { class: `line ${kind}` },
        h('time', {}, clock(Date.parse(line.timestamp))),
        h('span', {}, line.message),
      ),
    )
    while (list.childElementCount > KEPT) list.firstElementChild?.remove()
    if (atEnd) list.scrollTop = list.scrollHeight
  }
}

const ALWAYS = { next: 0, probability: 1 }
const NEVER = { next: 0, probability: 0 }

/** The switches that let anyone watch it recover. */
export class Trouble {
  private readonly network = h(
    'button',
    { type: 'button', class: 'switch', 'aria-pressed': false, onclick: () => this.cut() },
    'Cut the network',
  )
  private readonly events = h(
    'button',
    { type: 'button', class: 'switch', 'aria-pressed': false, onclick: () => this.drop() },
    'Drop events',
  )
  private readonly server = h('button', { type: 'button', onclick: () => this.kill() }, 'Kill the dev server')
  private readonly note = h('span', { class: 'note', role: 'status' })
  readonly element = h(
    'section',
    { class: 'trouble', 'aria-label': 'Make trouble' },
    h('h2', {}, 'Make trouble'),
    this.network,
    this.events,
    this.server,
    this.note,
  )

  show(state: State): void {
    const cut = state.faults.refuse_connections !== null
    const dropped = state.faults.drop_broadcasts.probability > 0
    press(this.network, cut)
    press(this.events, dropped)
    this.server.disabled = !state.agent?.dev_server?.pid
    this.say(
      cut
        ? 'Cut: the agent cannot reach the backend. Saves wait for it.'
        : dropped
          ? 'Events are lost; the agent finds out by asking for the head.'
          : '',
    )
  }

  private say(words: string): void {
    if (this.note.textContent !== words) this.note.textContent = words
  }

  private cut(): Promise<void> {
    const on = this.network.ariaPressed !== 'true'
    const faults = { refuse_connections: on ? 503 : null, fail_reads: on ? { status: 503, chance: ALWAYS } : null }
    return this.post('_local/faults', on ? { ...faults, cut: 'abruptly' } : faults)
  }

  private drop(): Promise<void> {
    const on = this.events.ariaPressed !== 'true'
    return this.post('_local/faults', { drop_broadcasts: on ? ALWAYS : NEVER })
  }

  private kill(): Promise<void> {
    return this.post('console/dev-server/kill', {})
  }

  private async post(place: string, body: object): Promise<void> {
    try {
      const answer = await fetch(place, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...keyHeaders },
        body: JSON.stringify(body),
      })
      if (!answer.ok) this.say(await answer.text())
      else if (place.startsWith('_local')) this.faults(await answer.json())
    } catch (error) {
      this.say(said(error))
    }
  }

  private faults(faults: Faults): void {
    press(this.network, faults.refuse_connections !== null)
    press(this.events, faults.drop_broadcasts.probability > 0)
  }
}

function press(button: HTMLButtonElement, on: boolean): void {
  button.ariaPressed = String(on)
}
