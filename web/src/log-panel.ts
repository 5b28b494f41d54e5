import { h } from './dom'
import type { LogLine } from './feed'
import { timeOfDay } from './format'

/** Lines that are kept. */
const MAX_LINES = 400
/** Nearer to its end than this, the list scrolls with new lines. Pixels. */
const FOLLOW_DISTANCE = 40

/** The last lines of the log, with the dev server's output. */
export class LogPanel {
  private readonly list = h('div', { class: 'lines', tabIndex: 0, role: 'log', 'aria-label': 'Log lines' })
  readonly element = h('section', { class: 'card log', 'aria-label': 'Log' }, h('h2', {}, 'Log'), this.list)

  clear(): void {
    this.list.replaceChildren()
  }

  add(line: LogLine): void {
    const { list } = this
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < FOLLOW_DISTANCE
    const kind = line.stream ? 'output' : line.level
    const time = h('time', {}, timeOfDay(Date.parse(line.timestamp)))
    // The console's address contains its key, which a screenshot or a shared screen must not show.
    const message = line.message.replace(/#key=[0-9a-f]+/g, '#key=…')
    list.append(h('div', { class: `line ${kind}` }, time, h('span', {}, message)))
    while (list.childElementCount > MAX_LINES) list.firstElementChild?.remove()
    if (atEnd) list.scrollTop = list.scrollHeight
  }
}
