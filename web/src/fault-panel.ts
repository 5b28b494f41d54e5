import { keyHeaders } from './console-key'
import { h } from './dom'
import { errorText } from './error-text'
import type { Faults, FeedState } from './feed'

const ALWAYS = { next: 0, probability: 1 }
const NEVER = { next: 0, probability: 0 }

/** Switches that cause faults, to watch the agent recover. */
export class FaultPanel {
  private readonly network = this.switch('Cut the network', () => this.toggleNetwork())
  private readonly events = this.switch('Drop events', () => this.toggleEvents())
  private readonly server = h('button', { type: 'button', onclick: () => this.killServer() }, 'Kill the dev server')
  private readonly note = h('span', { class: 'note', role: 'status' })
  readonly element = h(
    'section',
    { class: 'faults', 'aria-label': 'Cause faults' },
    h('h2', {}, 'Cause faults'),
    this.network,
    this.events,
    this.server,
    this.note,
  )

  show(state: FeedState): void {
    this.showFaults(state.faults)
    this.server.disabled = !state.agent?.dev_server?.pid
    if (state.faults.refuse_connections !== null) {
      this.setNote('The network is cut: the agent cannot reach the backend. Saved changes reach it afterwards.')
    } else if (state.faults.drop_broadcasts.probability > 0) {
      this.setNote('Events are lost: the agent finds out when it next asks for the newest revision.')
    } else {
      this.setNote('')
    }
  }

  private switch(label: string, onclick: () => void): HTMLButtonElement {
    return h('button', { type: 'button', class: 'switch', 'aria-pressed': false, onclick }, label)
  }

  private setNote(text: string): void {
    if (this.note.textContent !== text) this.note.textContent = text
  }

  private toggleNetwork(): Promise<void> {
    const on = this.network.ariaPressed !== 'true'
    const faults = { refuse_connections: on ? 503 : null, fail_reads: on ? { status: 503, chance: ALWAYS } : null }
    return this.post('_local/faults', on ? { ...faults, cut: 'abruptly' } : faults)
  }

  private toggleEvents(): Promise<void> {
    const on = this.events.ariaPressed !== 'true'
    return this.post('_local/faults', { drop_broadcasts: on ? ALWAYS : NEVER })
  }

  private killServer(): Promise<void> {
    return this.post('console/dev-server/kill', {})
  }

  private async post(place: string, body: object): Promise<void> {
    try {
      const headers = { 'content-type': 'application/json', ...keyHeaders }
      const answer = await fetch(place, { method: 'POST', headers, body: JSON.stringify(body) })
      if (!answer.ok) this.setNote(await answer.text())
      else if (place.startsWith('_local')) this.showFaults(await answer.json())
    } catch (error) {
      this.setNote(errorText(error))
    }
  }

  private showFaults(faults: Faults): void {
    this.network.ariaPressed = String(faults.refuse_connections !== null)
    this.events.ariaPressed = String(faults.drop_broadcasts.probability > 0)
  }
}
