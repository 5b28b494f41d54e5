import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands'
import { css } from '@codemirror/lang-css'
import { html } from '@codemirror/lang-html'
import { javascript } from '@codemirror/lang-javascript'
import { json } from '@codemirror/lang-json'
import { markdown } from '@codemirror/lang-markdown'
import { vue } from '@codemirror/lang-vue'
import {
  bracketMatching,
  foldGutter,
  foldKeymap,
  HighlightStyle,
  indentOnInput,
  syntaxHighlighting,
} from '@codemirror/language'
import { unifiedMergeView } from '@codemirror/merge'
import { highlightSelectionMatches, search, searchKeymap } from '@codemirror/search'
import { Annotation, Compartment, EditorState, type Extension } from '@codemirror/state'
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
} from '@codemirror/view'
import { tags as t } from '@lezer/highlight'

/** Marks a change that another made, not the keyboard. */
const foreign = Annotation.define<boolean>()

const colours = HighlightStyle.define([
  { tag: [t.keyword, t.modifier, t.operatorKeyword, t.controlKeyword], color: 'var(--syn-keyword)' },
  { tag: [t.string, t.special(t.string), t.regexp, t.attributeValue], color: 'var(--syn-string)' },
  { tag: [t.number, t.bool, t.null, t.atom, t.color, t.unit], color: 'var(--syn-number)' },
  { tag: [t.comment, t.docComment, t.meta], color: 'var(--syn-comment)', fontStyle: 'italic' },
  { tag: [t.tagName, t.typeName, t.className, t.namespace], color: 'var(--syn-type)' },
  { tag: [t.propertyName, t.attributeName, t.definition(t.propertyName)], color: 'var(--syn-property)' },
  { tag: [t.function(t.variableName), t.function(t.propertyName), t.labelName], color: 'var(--syn-function)' },
  { tag: [t.heading, t.strong], fontWeight: '600' },
  { tag: t.emphasis, fontStyle: 'italic' },
  { tag: [t.link, t.url], color: 'var(--syn-string)', textDecoration: 'underline' },
  { tag: t.invalid, color: 'var(--bad)' },
])

const look = EditorView.theme({
  '&': { height: '100%', backgroundColor: 'var(--surface)', color: 'var(--text)', fontSize: '13px' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.6' },
  '.cm-content': { caretColor: 'var(--accent)', padding: '10px 0' },
  '.cm-cursor': { borderLeftColor: 'var(--accent)', borderLeftWidth: '2px' },
  '.cm-gutters': { backgroundColor: 'var(--surface)', color: 'var(--faint)', border: 'none', paddingLeft: '6px' },
  '.cm-activeLine, .cm-activeLineGutter': { backgroundColor: 'var(--line-active)' },
  '.cm-activeLineGutter': { color: 'var(--muted)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
    backgroundColor: 'var(--selection)',
  },
  '.cm-selectionMatch, .cm-searchMatch': { backgroundColor: 'var(--match)' },
  '&.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--match)', outline: 'none' },
  '.cm-panels': { backgroundColor: 'var(--raised)', color: 'var(--text)', borderColor: 'var(--line)' },
  '.cm-foldPlaceholder': { backgroundColor: 'var(--raised)', borderColor: 'var(--line)', color: 'var(--muted)' },
  '.cm-changedLine, .cm-insertedLine': { backgroundColor: 'var(--ok-soft)' },
  '.cm-deletedChunk': { backgroundColor: 'var(--bad-soft)' },
  '.cm-changedText': { background: 'none', textDecoration: 'underline 2px var(--ok)' },
  '.cm-deletedChunk .cm-deletedText': { background: 'none', textDecoration: 'underline 2px var(--bad)' },
})

function language(path: string): Extension {
  const ending = /\.([^./]+)$/.exec(path)?.[1]?.toLowerCase() ?? ''
  if (/^[cm]?[jt]sx?$/.test(ending))
    return javascript({ jsx: !ending.endsWith('ts'), typescript: ending.includes('t') })
  if (ending === 'css' || ending === 'scss' || ending === 'less') return css()
  if (ending === 'html' || ending === 'svg') return html()
  if (ending === 'json') return json()
  if (ending === 'md' || ending === 'mdx') return markdown()
  if (ending === 'vue') return vue()
  return []
}

/** The one editor. Each document keeps its own history and selection while another is shown. */
export class Editor {
  private readonly view: EditorView
  private readonly merge = new Compartment()
  private readonly states = new Map<string, EditorState>()
  private path: string | null = null

  constructor(
    parent: HTMLElement,
    private readonly typed: (path: string, text: string) => void,
    private readonly save: () => void,
  ) {
    this.view = new EditorView({ parent })
  }

  /** Shows `path` with `text`. */
  show(path: string, text: string): void {
    this.keep()
    this.path = path
    const kept = this.states.get(path)
    this.view.setState(kept && kept.doc.toString() === text ? kept : this.fresh(path, text))
  }

  /** Puts `text` in place of what is shown, and leaves cursor and untouched lines where they are. */
  replace(path: string, text: string): void {
    if (this.path !== path) return void this.states.delete(path)
    const old = this.view.state.doc.toString()
    if (old === text) return
    let start = 0
    const shorter = Math.min(old.length, text.length)
    while (start < shorter && old[start] === text[start]) start++
    let end = 0
    while (end < shorter - start && old[old.length - 1 - end] === text[text.length - 1 - end]) end++
    const changes = { from: start, to: old.length - end, insert: text.slice(start, text.length - end) }
    this.view.dispatch({ changes, annotations: foreign.of(true) })
  }

  /** Shows the difference to `original`, or with null no longer. */
  compare(original: string | null): void {
    const shown =
      original === null
        ? []
        : unifiedMergeView({ original, mergeControls: false, collapseUnchanged: { margin: 3, minSize: 6 } })
    this.view.dispatch({ effects: this.merge.reconfigure(shown) })
  }

  focus(): void {
    this.view.focus()
  }

  forget(path: string): void {
    this.states.delete(path)
    if (this.path === path) this.path = null
  }

  private keep(): void {
    if (this.path !== null) this.states.set(this.path, this.view.state)
  }

  private fresh(path: string, doc: string): EditorState {
    return EditorState.create({
      doc,
      extensions: [
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
        syntaxHighlighting(colours),
        look,
        language(path),
        this.merge.of([]),
        EditorView.contentAttributes.of({ 'aria-label': `Content of ${path}`, tabindex: '0' }),
        keymap.of([
          {
            key: 'Mod-s',
            preventDefault: true,
            run: () => {
              this.save()
              return true
            },
          },
          // The keyboard's way out of the editor, which keeps Tab to itself.
          {
            key: 'Escape',
            run: (view) => {
              view.contentDOM.blur()
              return true
            },
          },
          ...searchKeymap,
          ...historyKeymap,
          ...foldKeymap,
          ...defaultKeymap,
          indentWithTab,
        ]),
        EditorView.updateListener.of((update) => {
          if (update.docChanged && !update.transactions.some((transaction) => transaction.annotation(foreign))) {
            this.typed(path, update.state.doc.toString())
          }
        }),
      ],
    })
  }
}
