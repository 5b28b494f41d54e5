import { clock, h, span } from './dom'
import type { LogLine } from './feed'

type Step = 'saved' | 'sent' | 'disk' | 'visible'

const STEPS: [Step, string][] = [
  ['saved', 'saved'],
  ['sent', 'sent'],
  ['disk', 'on disk'],
  ['visible', 'visible'],
]

/** An edit on its way. Times are Unix milliseconds of this machine. */
interface Edit {
  path: string
  version: number
  began: number
  own: boolean
  at: Partial<Record<Step, number>>
}

const KEPT = 50
/** A change of the page so long after the write is another's. */
const VISIBLE_WITHIN_MS = 5000

const BOOT: Record<string, string> = {
  config: 'Settings checked',
  channel_joined: 'Channel joined',
  hydrated: 'Files in place',
  install_start: 'Install begun',
  install_done: 'Packages installed',
  dev_server_start: 'Dev server started',
  dev_server_ready: 'Preview answers',
  in_sync: 'In sync',
}

/** The boot, and each edit's way to the page. */
export class Timeline {
  private readonly edits: Edit[] = []
  private readonly list = h('ol', { class: 'edits' })
  private readonly boot = h('ol', { class: 'boot' })
  private readonly none = h('p', { class: 'hint' }, 'Edit a file: its way to the page is measured here.')
  readonly element = h(
    'section',
    { class: 'card timeline', tabIndex: 0, 'aria-label': 'Timeline' },
    h('h2', {}, 'Edits'),
    this.none,
    this.list,
    h('h2', {}, 'Start'),
    this.boot,
  )
  private shownBoot = ''
  private lastPainted = 0
  private since = Date.now()

  clear(): void {
    this.since = Date.now()
    this.edits.length = 0
    this.draw()
  }

  saved(path: string, version: number, began: number, at: number): void {
    const edit = this.edit(path, version, began)
    edit.own = true
    edit.began = began
    edit.at.saved = at
    this.draw()
  }

  told(path: string, version: number, at: number): void {
    const edit = this.edit(path, version, at)
    edit.at.sent ??= Date.now()
    if (!edit.own) edit.at.saved = at
    this.draw()
  }

  line(line: LogLine): void {
    if (line.event_type !== 'file_applied' || typeof line.version !== 'number') return
    const at = Date.parse(line.timestamp)
    // What was there before this page was opened cannot be measured from here.
    const known = this.edits.find((edit) => edit.path === line.file_path && edit.version === line.version)
    if (!known && at < this.since) return
    this.edit(String(line.file_path), line.version, at - Number(line.lag_ms ?? 0)).at.disk = at
    this.painted(this.lastPainted)
  }

  /** The page has changed what it shows. */
  painted(at: number): void {
    this.lastPainted = at
    for (const edit of this.edits) {
      const { disk } = edit.at
      if (disk !== undefined && edit.at.visible === undefined && at >= disk && at - disk < VISIBLE_WITHIN_MS)
        edit.at.visible = at
    }
    this.draw()
  }

  showBoot(boot: Record<string, number>): void {
    const key = JSON.stringify(boot)
    if (key === this.shownBoot) return
    this.shownBoot = key
    const steps = Object.entries(boot).sort((a, b) => a[1] - b[1])
    const total = Math.max(1, steps.at(-1)?.[1] ?? 1)
    let before = 0
    this.boot.replaceChildren(
      ...steps.map(([step, ms]) => {
        const from = before
        before = ms
        return h(
          'li',
          {},
          h('span', { class: 'name' }, BOOT[step] ?? step),
          h(
            'span',
            { class: 'track', 'aria-hidden': 'true' },
            h('span', {
              class: 'fill',
              style: `left:${(from / total) * 100}%;width:${Math.max(0.6, ((ms - from) / total) * 100)}%`,
            }),
          ),
          h('span', { class: 'ms' }, span(ms)),
        )
      }),
    )
  }

  private edit(path: string, version: number, began: number): Edit {
    let edit = this.edits.find((edit) => edit.path === path && edit.version === version)
    if (!edit) {
      edit = { path, version, began, own: false, at: {} }
      this.edits.unshift(edit)
      this.edits.length = Math.min(this.edits.length, KEPT)
    }
    return edit
  }

  private draw(): void {
    this.none.hidden = this.edits.length > 0
    this.list.replaceChildren(...this.edits.map(row))
  }
}

function row(edit: Edit): HTMLElement {
  const last = Math.max(1, ...Object.values(edit.at).map((at) => at - edit.began))
  return h(
    'li',
    {},
    h(
      'div',
      { class: 'what' },
      h('time', {}, clock(edit.began)),
      h('span', { class: 'path', title: edit.path }, edit.path),
      h('span', { class: 'version' }, `v${edit.version}`),
    ),
    h(
      'div',
      { class: 'steps' },
      ...STEPS.map(([step, words]) => {
        const at = edit.at[step]
        return h(
          'span',
          { class: `step ${at === undefined ? 'open' : ''}` },
          h('i', { class: `dot ${step}`, 'aria-hidden': 'true' }),
          `${words} `,
          h('b', {}, at === undefined ? '–' : span(at - edit.began)),
        )
      }),
    ),
    h(
      'div',
      { class: 'track', 'aria-hidden': 'true' },
      ...STEPS.flatMap(([step]) => {
        const at = edit.at[step]
        return at === undefined
          ? []
          : [h('i', { class: `dot ${step}`, style: `left:${(Math.max(0, at - edit.began) / last) * 100}%` })]
      }),
    ),
  )
}
