import { readable } from './codes'
import { h } from './dom'
import { duration } from './format'

/** The steps of a start, by the agent's names, for people. */
const STEP_TEXTS: Record<string, string> = {
  config: 'Settings checked',
  channel_joined: 'Live updates on',
  hydrated: 'Files loaded',
  install_start: 'Install started',
  install_done: 'Packages installed',
  dev_server_start: 'Dev server started',
  dev_server_ready: 'Preview answers',
  in_sync: 'In sync',
}

/** Shows how long each step of the agent's start took. */
export class BootTimeline {
  private readonly list = h('ol', { class: 'boot' })
  private shown = ''
  readonly element = h('div', {}, h('h2', {}, 'Start'), this.list)

  /** `steps` are milliseconds since the start of the agent. */
  show(steps: Record<string, number>): void {
    const key = JSON.stringify(steps)
    if (key === this.shown) return
    this.shown = key
    const ordered = Object.entries(steps).sort((a, b) => a[1] - b[1])
    const total = Math.max(1, ordered.at(-1)?.[1] ?? 1)
    const rows = ordered.map(([step, end], index) => stepRow(step, ordered[index - 1]?.[1] ?? 0, end, total))
    this.list.replaceChildren(...rows)
  }
}

function stepRow(step: string, start: number, end: number, total: number): HTMLElement {
  const left = (start / total) * 100
  const width = Math.max(0.6, ((end - start) / total) * 100)
  return h(
    'li',
    {},
    h('span', { class: 'name' }, STEP_TEXTS[step] ?? readable(step)),
    h(
      'span',
      { class: 'track', 'aria-hidden': 'true' },
      h('span', { class: 'fill', style: `left:${left}%;width:${width}%` }),
    ),
    h('span', { class: 'ms' }, duration(end)),
  )
}
