import { ConflictBanner } from './conflict-banner'
import { h, iconButton } from './dom'
import { Editor, type TabMode } from './editor'
import { type Card, connectingCard } from './file-card'
import type { OpenFile } from './open-file'
import type { ShownProblem } from './problems'

export interface EditorPaneListener {
  onTyped(path: string, text: string): void
  onSave(): void
  onRename(): void
  onRemove(): void
  onFileDropped(path: string): void
}

/** The pane of the selected file: its path, its state, and an editor or a card. */
export class EditorPane {
  private readonly path = h('span', { class: 'path' })
  private readonly saveState = h('span', { class: 'save-state', role: 'status' })
  private readonly tabHint = h('span', { class: 'tab-hint', hidden: true }, 'Esc, then Tab leaves')
  private readonly actions: HTMLElement
  private readonly banner: ConflictBanner
  private readonly host = h('div', { class: 'editor-host', hidden: true })
  private readonly cardHost = h('div', { class: 'empty' })
  private readonly editor: Editor
  private shownCard: string | null = null
  readonly element: HTMLElement

  constructor(listener: EditorPaneListener) {
    this.actions = h(
      'div',
      { class: 'actions' },
      iconButton('rename', 'Rename this file', () => listener.onRename()),
      iconButton('trash', 'Delete this file', () => listener.onRemove()),
    )
    this.banner = new ConflictBanner({
      onCompare: (original) => this.editor.compare(original),
      onFileDropped: (path) => listener.onFileDropped(path),
    })
    this.editor = new Editor(this.host, {
      onTyped: (path, text) => listener.onTyped(path, text),
      onSaveKey: () => listener.onSave(),
      onTabMode: (mode: TabMode) => {
        this.tabHint.hidden = mode === 'move'
      },
    })
    const head = h(
      'header',
      { class: 'pane-head' },
      this.path,
      this.saveState,
      h('span', { class: 'spacer' }),
      this.tabHint,
      this.actions,
    )
    const body = h('div', { class: 'pane-body' }, this.host, this.cardHost)
    this.element = h('section', { class: 'pane editor', 'aria-label': 'Editor' }, head, this.banner.element, body)
    this.showCard(connectingCard(), null)
  }

  /** Shows the editor with this file. */
  showFile(file: OpenFile, focus: 'focus' | 'keep_focus'): void {
    this.shownCard = null
    this.cardHost.hidden = true
    this.host.hidden = false
    this.banner.hide()
    this.editor.show(file.path, file.text)
    if (focus === 'focus') this.editor.focus()
    this.update(file)
  }

  /** Shows a card. `file` names the file that the card is about, where there is one. */
  showCard(card: Card, file: { path: string; version: number } | null): void {
    this.banner.hide()
    this.host.hidden = true
    this.cardHost.hidden = false
    if (this.shownCard !== card.key) this.cardHost.replaceChildren(...card.content)
    this.shownCard = card.key
    this.setHead(file?.path ?? '', file ? `v${file.version}` : '', '')
    this.actions.hidden = file === null
  }

  /** Says that a file is being read. */
  showOpening(): void {
    this.saveState.textContent = 'Opening …'
  }

  /** The state of the file that is shown has changed. */
  update(file: OpenFile): void {
    this.actions.hidden = false
    const [text, tone] = saveStateOf(file)
    this.setHead(file.path, text, tone)
    this.banner.show(file)
  }

  replaceText(file: OpenFile, undo: 'keep' | 'reset'): void {
    this.editor.replace(file.path, file.text, undo)
  }

  /** Marks the places of these problems. */
  mark(problems: readonly ShownProblem[]): void {
    this.editor.mark(problems)
  }

  /** Moves the cursor to a position of the file that is shown; both begin at 1. */
  goTo(line: number, column: number): void {
    this.editor.goTo(line, column)
  }

  forget(path: string): void {
    this.editor.forget(path)
  }

  private setHead(path: string, state: string, tone: string): void {
    this.path.textContent = path
    this.path.title = path
    this.saveState.textContent = state
    this.saveState.className = `save-state ${tone}`
  }
}

function saveStateOf(file: OpenFile): [text: string, tone: 'ok' | 'bad' | ''] {
  if (file.remote) return ['Conflict', 'bad']
  if (file.error) return [`Not saved: ${file.error}`, 'bad']
  if (file.saving) return ['Saving …', '']
  if (file.dirty) return ['Not saved yet', '']
  return [`Saved · v${file.base.version}`, 'ok']
}
