import { h } from './dom'
import { EDIT_STEP_TEXTS, EDIT_STEPS, type EditStep, inCausalOrder, type StepTimes } from './edit-timing'
import type { LogLine } from './feed'
import { duration, timeOfDay } from './format'
import type { SaveRecord } from './open-file'

/** An edit on its way to the page. Times are Unix milliseconds of this machine. */
interface Edit {
  path: string
  version: number
  /** The first keystroke; for an edit of another editor the time of its save. */
  began: number
  origin: 'this_console' | 'elsewhere'
  observed: StepTimes
  /** Of the database; known once the agent has written the file. */
  revision?: number
  /** When the page first changed after the write. It is shown once the agent's verdict confirms it. */
  paintedAt?: number
  /** The agent's verdict about the revision. */
  verdict?: 'ok' | 'broken'
}

const MAX_EDITS = 50
/** A change of the page later than this after the write has another cause. Milliseconds. */
const VISIBLE_WITHIN_MS = 5000

/** Shows for each edit how long it took from the keystroke to the page, all on one axis. */
export class Timeline {
  private readonly edits: Edit[] = []
  private readonly list = h('ol', { class: 'edits' })
  private readonly axis = h('p', { class: 'axis', hidden: true })
  private readonly hint = h('p', { class: 'hint' }, 'Edit a file: the time until the page shows it is measured here.')
  readonly element = h('div', {}, h('h2', {}, 'Edits'), this.hint, this.axis, this.list)
  private lastPainted = 0
  private since = Date.now()

  clear(): void {
    this.since = Date.now()
    this.edits.length = 0
    this.draw()
  }

  /** This console has saved a file. */
  addSave({ path, version, typedAt, savedAt }: SaveRecord): void {
    const edit = this.find(path, version, typedAt)
    edit.origin = 'this_console'
    edit.began = typedAt
    edit.observed.saved = savedAt
    this.draw()
  }

  /** An event named this version; `sentAt` is the database's clock, which is this machine's. */
  addEvent(path: string, version: number, sentAt: number): void {
    const edit = this.find(path, version, sentAt)
    edit.observed.sent ??= Date.now()
    if (edit.origin === 'elsewhere') edit.observed.saved = sentAt
    this.draw()
  }

  /** A line of the log may say that the agent has written a file, or whether the preview works with a revision. */
  addLogLine(line: LogLine): void {
    if (line.event_type === 'verdict' && line.settled === true) this.addVerdict(line)
    if (line.event_type !== 'file_applied' || typeof line.version !== 'number') return
    const at = Date.parse(line.timestamp)
    const known = this.edits.find((edit) => edit.path === line.file_path && edit.version === line.version)
    // Edits from before this page was opened cannot be measured here.
    if (!known && at < this.since) return
    const edit = this.find(String(line.file_path), line.version, at - Number(line.lag_ms ?? 0))
    edit.observed.disk = at
    if (typeof line.revision === 'number') edit.revision = line.revision
    this.addPaint(this.lastPainted)
  }

  /** A verdict is about every revision up to its own that has none yet. */
  private addVerdict({ timestamp, revision, verdict, seen }: LogLine): void {
    for (const edit of this.edits) {
      const isMeant = edit.revision !== undefined && edit.revision <= Number(revision)
      if (!isMeant || edit.observed.visible !== undefined) continue
      edit.verdict = verdict === 'ok' ? 'ok' : 'broken'
      if (seen === 'rendered') edit.paintedAt ??= Date.parse(timestamp)
      showWhenConfirmed(edit)
    }
    this.draw()
  }

  /** The preview's page has changed what it shows. */
  addPaint(at: number): void {
    this.lastPainted = at
    for (const edit of this.edits) {
      const { disk } = edit.observed
      if (disk === undefined || edit.paintedAt !== undefined) continue
      if (at >= disk && at - disk < VISIBLE_WITHIN_MS) edit.paintedAt = at
      showWhenConfirmed(edit)
    }
    this.draw()
  }

  private find(path: string, version: number, began: number): Edit {
    const known = this.edits.find((edit) => edit.path === path && edit.version === version)
    if (known) return known
    const edit: Edit = { path, version, began, origin: 'elsewhere', observed: {} }
    this.edits.unshift(edit)
    this.edits.length = Math.min(this.edits.length, MAX_EDITS)
    return edit
  }

  private draw(): void {
    const rows = this.edits.map((edit) => ({ edit, times: stepDurations(edit) }))
    const longest = Math.max(1, ...rows.flatMap(({ times }) => [...times.values()]))
    this.hint.hidden = rows.length > 0
    this.axis.hidden = rows.length === 0
    this.axis.textContent = `Bars: from the keystroke (left) to ${duration(longest)} (right).`
    this.list.replaceChildren(...rows.map(({ edit, times }) => editRow(edit, times, longest)))
  }
}

/** A page that changed shows the edit only where the agent says that the preview works with it. */
function showWhenConfirmed(edit: Edit): void {
  if (edit.verdict === 'ok' && edit.paintedAt !== undefined) edit.observed.visible = edit.paintedAt
}

/** Milliseconds from the beginning of the edit to each step. */
function stepDurations(edit: Edit): Map<EditStep, number> {
  const times = inCausalOrder(edit.observed)
  return new Map(
    EDIT_STEPS.flatMap((step) => {
      const at = times[step]
      return at === undefined ? [] : [[step, Math.max(0, at - edit.began)]]
    }),
  )
}

function editRow(edit: Edit, times: ReadonlyMap<EditStep, number>, longest: number): HTMLElement {
  const steps = EDIT_STEPS.map((step) => {
    const time = times.get(step)
    if (step === 'visible' && edit.verdict === 'broken') return h('span', { class: 'step broken' }, 'preview broken')
    return h(
      'span',
      { class: `step ${time === undefined ? 'open' : ''}` },
      h('i', { class: `dot ${step}`, 'aria-hidden': 'true' }),
      `${EDIT_STEP_TEXTS[step]} `,
      h('b', {}, time === undefined ? '–' : duration(time)),
    )
  })
  const dots = [...times].map(([step, time]) =>
    h('i', { class: `dot ${step}`, style: `left:${(time / longest) * 100}%` }),
  )
  return h(
    'li',
    {},
    h(
      'div',
      { class: 'what' },
      h('time', {}, timeOfDay(edit.began)),
      h('span', { class: 'path', title: edit.path }, edit.path),
      h('span', { class: 'version' }, `v${edit.version}`),
    ),
    h('div', { class: 'steps' }, ...steps),
    h('div', { class: 'track', 'aria-hidden': 'true' }, ...dots),
  )
}
