import { h } from './dom'
import type { OpenFile } from './open-file'

export interface ConflictListener {
  /** Shows the difference to the other editor's text; null ends the comparison. */
  onCompare(original: string | null): void
  /** The other editor's text was taken, but it deleted the file. */
  onFileDropped(path: string): void
}

/** Says that a file is in conflict, and offers the ways out. Hidden while there is none. */
export class ConflictBanner {
  readonly element = h('div', { class: 'banner', role: 'alert', hidden: true })
  private shown = ''
  private comparing = false

  constructor(private readonly listener: ConflictListener) {}

  show(file: OpenFile): void {
    const { remote } = file
    const key = remote ? `${file.path} ${remote.version}` : ''
    if (this.shown === key && this.element.hidden === !remote) return
    this.hide()
    if (!remote) return
    this.shown = key
    this.element.hidden = false
    const { text, version } = remote
    const message =
      text === null
        ? `This file was deleted by another editor (version ${version}) while you were editing it.`
        : `This file was changed by another editor (version ${version}) while you were editing it. Your changes are not saved until you choose.`
    const compare = h(
      'button',
      { type: 'button', 'aria-pressed': false, hidden: text === null, onclick: () => this.toggle(compare, text) },
      'Compare',
    )
    const keepMine = h('button', { type: 'button', onclick: () => void file.keepMine() }, 'Keep mine')
    const takeTheirs = h(
      'button',
      { type: 'button', onclick: () => file.takeTheirs() || this.listener.onFileDropped(file.path) },
      text === null ? 'Delete mine' : 'Take theirs',
    )
    this.element.replaceChildren(h('p', {}, message), h('div', { class: 'buttons' }, compare, keepMine, takeTheirs))
  }

  hide(): void {
    this.shown = ''
    this.element.hidden = true
    if (this.comparing) this.listener.onCompare(null)
    this.comparing = false
  }

  private toggle(button: HTMLButtonElement, text: string | null): void {
    this.comparing = !this.comparing
    button.ariaPressed = String(this.comparing)
    this.listener.onCompare(this.comparing ? text : null)
  }
}
