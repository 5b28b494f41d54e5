import { CONSOLE_STATE_TEXTS, CONSOLE_STATE_TONES, type ConsoleState, readable, type Tone } from './codes'
import { h } from './dom'
import type { AgentStatus } from './feed'
import { type ProblemsReport, problemsSummary } from './problems'
import { type ReceivedStatus, syncText } from './sync-state'

/** The bar at the top: the project's name, and the state in short. */
export class Header {
  private readonly name = h('span', { class: 'project' })
  private readonly pills = h('div', { class: 'pills', role: 'status', 'aria-label': 'State in short' })
  private shown = ''
  readonly element = h(
    'header',
    { class: 'top' },
    h('img', { src: './assets/icon.svg', alt: '', width: 22, height: 22 }),
    h('h1', {}, 'preview-agent'),
    this.name,
    this.pills,
  )

  /** `folder` is null for a backend without a folder. */
  showProject(folder: string | null): void {
    const name = folder?.split('/').at(-1) ?? 'backend without a folder'
    this.name.textContent = name
    this.name.title = folder ?? ''
    document.title = `${name} · preview-agent`
  }

  showState(
    state: ConsoleState,
    status: ReceivedStatus | null,
    problems: ProblemsReport | null,
    newestRevision: number,
  ): void {
    const pills: [string, Tone][] = [[CONSOLE_STATE_TEXTS[state], CONSOLE_STATE_TONES[state]]]
    if (status) {
      const { agent } = status
      const sync = syncText(status, newestRevision)
      pills.push([`Revision ${agent.revision} · ${sync.text}`, sync.tone], devServerPill(agent))
    }
    const preview = problemsSummary(problems)
    if (preview) pills.push([preview.text, preview.tone])
    const key = JSON.stringify(pills)
    if (this.shown === key) return
    this.shown = key
    this.pills.replaceChildren(...pills.map(([text, tone]) => pill(text, tone)))
  }
}

function devServerPill(agent: AgentStatus): [string, Tone] {
  const state = agent.dev_server?.state ?? 'waiting'
  const tone = state === 'serving' ? 'ok' : state === 'gave_up' ? 'bad' : 'warn'
  return [`Dev server ${readable(state)}`, tone]
}

function pill(text: string, tone: Tone): HTMLElement {
  const lamp = h('i', { class: `lamp ${tone}`, 'aria-hidden': 'true' })
  return h('span', { class: `pill ${tone}` }, lamp, h('span', {}, text))
}
