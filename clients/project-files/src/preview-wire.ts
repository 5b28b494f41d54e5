import { PROBLEM_KINDS, type Problem, SEEN, VERDICTS, type Verdict } from './preview-types.js'

/** An event of a project's status topic, after it was checked. */
export type PreviewEvent =
  | { kind: 'problem'; problem: Problem }
  | { kind: 'resolved'; sessionId: string; id: string; revision: number }
  | { kind: 'verdict'; verdict: Verdict }

/** The bound of docs/protocol.md for the text of one problem, in characters. */
const MAX_TEXT = 8 * 1024
/** The bound of docs/protocol.md for open problems. */
export const MAX_PROBLEMS = 100
const MAX_ID = 64

type Fields = Record<string, unknown>

/** Null for any other event, and for one that is malformed: whoever may send on the topic can send anything. */
export function decodePreviewEvent(name: string, payload: unknown): PreviewEvent | null {
  if (typeof payload !== 'object' || payload === null) return null
  const fields = payload as Fields
  const sessionId = id(fields.session_id)
  const revision = count(fields.revision)
  if (sessionId === undefined || revision === undefined) return null
  if (name === 'preview:problem') {
    const problem = problemOf(fields, sessionId, revision)
    return problem && { kind: 'problem', problem }
  }
  if (name === 'preview:resolved') {
    const problem = id(fields.id)
    return problem === undefined ? null : { kind: 'resolved', sessionId, id: problem, revision }
  }
  if (name === 'preview:verdict') {
    const verdict = verdictOf(fields, sessionId, revision)
    return verdict && { kind: 'verdict', verdict }
  }
  return null
}

function problemOf(fields: Fields, sessionId: string, revision: number): Problem | null {
  const problem = id(fields.id)
  const kind = oneOf(PROBLEM_KINDS, fields.kind)
  const message = text(fields.message)
  if (problem === undefined || kind === undefined || message === undefined) return null
  const firstAt = time(fields.first_at) ?? Date.now()
  const optional = {
    code: text(fields.code),
    path: text(fields.file_path),
    line: count(fields.line),
    column: count(fields.column),
    frame: text(fields.frame),
    stack: text(fields.stack),
    page: text(fields.page),
  }
  const known = Object.entries(optional).filter(([, value]) => value !== undefined)
  return {
    ...(Object.fromEntries(known) as Partial<Problem>),
    id: problem,
    sessionId,
    kind,
    message,
    revision,
    count: count(fields.count) ?? 1,
    firstAt,
    lastAt: time(fields.last_at) ?? firstAt,
  }
}

function verdictOf(fields: Fields, sessionId: string, revision: number): Verdict | null {
  const verdict = oneOf(VERDICTS, fields.verdict)
  const seen = oneOf(SEEN, fields.seen)
  if (verdict === undefined || seen === undefined || !Array.isArray(fields.problems)) return null
  const problems = fields.problems.slice(0, MAX_PROBLEMS).flatMap((value) => id(value) ?? [])
  return {
    sessionId,
    revision,
    verdict,
    seen,
    settled: fields.settled === true,
    problems,
    at: time(fields.at) ?? Date.now(),
  }
}

function id(value: unknown): string | undefined {
  return typeof value === 'string' && value.length > 0 && value.length <= MAX_ID ? value : undefined
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value.slice(0, MAX_TEXT) : undefined
}

function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined
}

function time(value: unknown): number | undefined {
  const parsed = typeof value === 'string' ? Date.parse(value) : Number.NaN
  return Number.isNaN(parsed) ? undefined : parsed
}

function oneOf<T extends string>(values: readonly T[], value: unknown): T | undefined {
  return values.find((known) => known === value)
}
