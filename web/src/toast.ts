import { h } from './dom'

/** One message about something that failed. It stays until it is dismissed or replaced. */
export class Toast {
  readonly element = h('div', { class: 'toast', role: 'alert', hidden: true })

  show(message: string): void {
    const dismiss = h('button', { type: 'button', onclick: () => this.hide() }, 'Dismiss')
    this.element.replaceChildren(h('span', {}, message), dismiss)
    this.element.hidden = false
  }

  hide(): void {
    this.element.hidden = true
  }
}
