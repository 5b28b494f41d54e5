import { defaultKeymap, history, historyKeymap, indentLess, indentMore } from '@codemirror/commands'
import { bracketMatching, foldGutter, foldKeymap, indentOnInput } from '@codemirror/language'
import { type Diagnostic, lintGutter, setDiagnostics } from '@codemirror/lint'
import { diff, unifiedMergeView } from '@codemirror/merge'
import { highlightSelectionMatches, search, searchKeymap, searchPanelOpen } from '@codemirror/search'
import { Annotation, Compartment, EditorState, type Extension, Transaction } from '@codemirror/state'
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
} from '@codemirror/view'
import { languageOf, theme } from './editor-theme'
import type { ShownProblem } from './problems'

/** Marks a change that came from the database, not from this editor's user. */
const external = Annotation.define<boolean>()
/** How precise the comparison with an external text is before it becomes coarse; see `@codemirror/merge`. */
const DIFF_SCAN_LIMIT = 500

export interface EditorListener {
  onTyped(path: string, text: string): void
  onSaveKey(): void
  /** Whether Tab indents now, or moves the focus. */
  onTabMode(mode: TabMode): void
}

/** `move`: Tab moves the focus to the next control. `indent`: it indents, after a click into the text or after typing. */
export type TabMode = 'move' | 'indent'

/** The text editor. Each file keeps its own undo history and selection while another file is shown. */
export class Editor {
  private readonly view: EditorView
  private readonly merge = new Compartment()
  private readonly states = new Map<string, EditorState>()
  private path: string | null = null
  private tabMode: TabMode = 'move'
  private problems: readonly ShownProblem[] = []
  private marked = ''

  constructor(
    parent: HTMLElement,
    private readonly listener: EditorListener,
  ) {
    this.view = new EditorView({ parent })
  }

  /** Shows `path` with `text`. */
  show(path: string, text: string): void {
    this.keepState()
    this.path = path
    const kept = this.states.get(path)
    this.view.setState(kept && kept.doc.toString() === text ? kept : this.newState(path, text))
    this.showMarks()
  }

  /** Marks the places of these problems in the files that they name. */
  mark(problems: readonly ShownProblem[]): void {
    const marked = JSON.stringify(problems.map(({ id, message, line, column }) => [id, message, line, column]))
    if (marked === this.marked) return
    this.marked = marked
    this.problems = problems
    this.showMarks()
  }

  /** Moves the cursor there and scrolls to it. Positions begin at 1; one beyond the text is moved into it. */
  goTo(line: number, column: number): void {
    const at = offsetOf(this.view.state, line, column)
    this.view.dispatch({ selection: { anchor: at }, effects: EditorView.scrollIntoView(at, { y: 'center' }) })
    this.view.focus()
  }

  /**
   * Replaces the text of `path` by the database's; cursor and unchanged lines stay. The change is not in the undo history, so
   * that undo takes back own changes only; `reset` also empties the history.
   */
  replace(path: string, text: string, undo: 'keep' | 'reset'): void {
    const isShown = this.path === path
    const state = isShown ? this.view.state : this.states.get(path)
    if (!state) return
    if (undo === 'reset') {
      const fresh = this.newState(path, text)
      if (isShown) this.view.setState(fresh)
      else this.states.set(path, fresh)
      return
    }
    const old = state.doc.toString()
    const changes = diff(old, text, { scanLimit: DIFF_SCAN_LIMIT }).map(({ fromA, toA, fromB, toB }) => ({
      from: fromA,
      to: toA,
      insert: text.slice(fromB, toB),
    }))
    const update = { changes, annotations: [external.of(true), Transaction.addToHistory.of(false)] }
    if (isShown) this.view.dispatch(update)
    else this.states.set(path, state.update(update).state)
  }

  /** Shows the difference to `original`; null ends the comparison. */
  compare(original: string | null): void {
    const extension =
      original === null
        ? []
        : unifiedMergeView({ original, mergeControls: false, collapseUnchanged: { margin: 3, minSize: 6 } })
    this.view.dispatch({ effects: this.merge.reconfigure(extension) })
  }

  focus(): void {
    this.view.focus()
  }

  forget(path: string): void {
    this.states.delete(path)
    if (this.path === path) this.path = null
  }

  private showMarks(): void {
    const { state } = this.view
    const here = this.problems.filter(({ file_path: path, line }) => path === this.path && line !== undefined)
    this.view.dispatch(
      setDiagnostics(
        state,
        here.map((problem) => markOf(state, problem)),
      ),
    )
  }

  private keepState(): void {
    if (this.path !== null) this.states.set(this.path, this.view.state)
  }

  private setTabMode(mode: TabMode): void {
    if (mode === this.tabMode) return
    this.tabMode = mode
    this.listener.onTabMode(mode)
  }

  private newState(path: string, doc: string): EditorState {
    return EditorState.create({
      doc,
      extensions: [
        lintGutter(),
        lineNumbers(),
        foldGutter(),
        highlightSpecialChars(),
        history(),
        drawSelection(),
        indentOnInput(),
        bracketMatching(),
        highlightActiveLine(),
        highlightActiveLineGutter(),
        highlightSelectionMatches(),
        search({ top: true }),
        theme,
        languageOf(path),
        this.merge.of([]),
        EditorView.contentAttributes.of({ 'aria-label': `Content of ${path}`, tabindex: '0' }),
        this.keys(),
        EditorView.domEventHandlers({
          mousedown: () => this.setTabMode('indent'),
          blur: () => this.setTabMode('move'),
        }),
        EditorView.updateListener.of((update) => {
          if (!update.docChanged || update.transactions.some((transaction) => transaction.annotation(external))) return
          this.setTabMode('indent')
          this.listener.onTyped(path, update.state.doc.toString())
        }),
      ],
    })
  }

  private keys(): Extension {
    const indentIn = (command: typeof indentMore) => (view: EditorView) => this.tabMode === 'indent' && command(view)
    return keymap.of([
      {
        key: 'Mod-s',
        preventDefault: true,
        run: () => {
          this.listener.onSaveKey()
          return true
        },
      },
      {
        // The way out of the editor by keyboard; the find panel closes first.
        key: 'Escape',
        run: (view) => {
          if (searchPanelOpen(view.state) || this.tabMode === 'move') return false
          this.setTabMode('move')
          return true
        },
      },
      { key: 'Tab', run: indentIn(indentMore), shift: indentIn(indentLess) },
      ...searchKeymap,
      ...historyKeymap,
      ...foldKeymap,
      ...defaultKeymap,
    ])
  }
}

function offsetOf(state: EditorState, line: number, column: number): number {
  const found = state.doc.line(Math.min(Math.max(line, 1), state.doc.lines))
  return Math.min(found.from + Math.max(column, 1) - 1, found.to)
}

/** From the place to the end of the word there. */
function markOf(state: EditorState, { line = 1, column = 1, message, kind }: ShownProblem): Diagnostic {
  const from = offsetOf(state, line, column)
  const to = state.wordAt(from)?.to ?? state.doc.lineAt(from).to
  return {
    from,
    to: Math.max(from, to),
    severity: kind === 'console' || kind === 'type' ? 'warning' : 'error',
    message,
  }
}
