import type { ProblemKind } from '@preview-agent/project-files'
import type { Tone } from './codes'
import { h } from './dom'
import { counted } from './format'

/** An open problem, in the form of the agent's `/problems` (docs/protocol.md). Its texts come from the project's code. */
export interface ShownProblem {
  id: string
  kind: ProblemKind
  message: string
  file_path?: string
  line?: number
  column?: number
  frame?: string
  stack?: string
  page?: string
  count: number
}

/** The agent's `/problems`. */
export interface ProblemsReport {
  revision: number
  verdict: {
    revision: number
    verdict: 'ok' | 'broken'
    seen: 'applied' | 'built' | 'rendered'
    settled: boolean
  } | null
  problems: ShownProblem[]
  /** How many were reported beyond the bounds. */
  omitted: number
}

/** Kinds that do not make a preview broken: docs/protocol.md, "Verdict". */
const HARMLESS_KINDS: readonly ProblemKind[] = ['console', 'type']
/** The first problem's message in the header is cut after this many characters. */
const MAX_SUMMARY = 80

/** The preview's state in short; null where nothing is known. */
export function problemsSummary(report: ProblemsReport | null): { text: string; tone: Tone } | null {
  if (!report) return null
  const { verdict, problems } = report
  const grave = problems.find(({ kind }) => !HARMLESS_KINDS.includes(kind))
  if (grave) {
    const more = problems.length > 1 ? ` (${counted(problems.length, 'problem')})` : ''
    return { text: `Preview broken${more}: ${firstLine(grave.message)}`, tone: 'bad' }
  }
  if (problems.length > 0) return { text: `Preview has ${counted(problems.length, 'problem')}`, tone: 'warn' }
  return verdict && { text: `Preview ok, revision ${verdict.revision} ${verdict.seen}`, tone: 'ok' }
}

/** The problems of the preview, one in a row. A click on one that names a file opens it at the line. */
export class ProblemsPanel {
  private readonly list = h('ol', {})
  private readonly heading = h('h2', {}, 'Problems')
  private readonly omitted = h('p', { class: 'note', hidden: true })
  private shown = ''
  readonly element = h(
    'section',
    { class: 'card problems', 'aria-label': 'Problems', hidden: true },
    this.heading,
    this.list,
    this.omitted,
  )

  constructor(private readonly onOpen: (path: string, line: number, column: number) => void) {}

  show(report: ProblemsReport | null): void {
    const key = JSON.stringify([report?.problems, report?.omitted])
    if (key === this.shown) return
    this.shown = key
    const problems = report?.problems ?? []
    this.element.hidden = problems.length === 0
    this.heading.textContent = `Problems (${problems.length})`
    this.list.replaceChildren(...problems.map((problem) => this.row(problem)))
    this.omitted.hidden = !report?.omitted
    this.omitted.textContent = `${counted(report?.omitted ?? 0, 'report')} more are not shown.`
  }

  private row(problem: ShownProblem): HTMLElement {
    const { file_path: path, line, column } = problem
    const place = placeText(problem)
    const button =
      path !== undefined &&
      h('button', { type: 'button', class: 'place', onclick: () => this.onOpen(path, line ?? 1, column ?? 1) }, place)
    const details = problem.frame ?? problem.stack
    return h(
      'li',
      {},
      h(
        'p',
        { class: 'what' },
        h('span', { class: `kind ${problem.kind}` }, problem.kind),
        button || (place && h('span', { class: 'path' }, place)),
        problem.count > 1 && h('span', { class: 'version' }, `${problem.count} times`),
      ),
      h('p', { class: 'message' }, problem.message),
      details && h('details', {}, h('summary', {}, 'Source'), h('pre', { tabIndex: 0 }, details)),
    )
  }
}

function placeText({ file_path: path, line, column, page }: ShownProblem): string {
  if (path === undefined) return page === undefined ? '' : `page ${page}`
  return [path, line, line === undefined ? undefined : column].filter((part) => part !== undefined).join(':')
}

function firstLine(text: string): string {
  const line = text.split('\n', 1)[0] ?? ''
  return line.length > MAX_SUMMARY ? `${line.slice(0, MAX_SUMMARY)}…` : line
}
