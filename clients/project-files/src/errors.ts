/**
 * Why a call failed.
 * - `no_right`: the caller has no right to it, or the project does not exist (the database does not distinguish them).
 * - `signed_out`: no token, or one that has expired.
 * - `refused`: a path or value that is not allowed; the message says which.
 * - `too_large`: larger than a gateway or storage accepts.
 * - `not_found`: no such file, or a version that is no longer kept.
 * - `rate_limited`: too many writes, also after the retries.
 * - `unavailable`: the network or a server failed, also after the retries. A write may have taken effect.
 * - `aborted`: ended by the caller's signal or by `close`. A write may have taken effect.
 * - `timeout`: no verdict about the preview came in time.
 * - `unsupported`: the database does not have the function.
 * - `unexpected`: an answer that this module does not understand.
 */
export const ERROR_KINDS = [
  'no_right',
  'signed_out',
  'refused',
  'too_large',
  'not_found',
  'rate_limited',
  'unavailable',
  'aborted',
  'timeout',
  'unsupported',
  'unexpected',
] as const
export type ErrorKind = (typeof ERROR_KINDS)[number]

/** What every failed call throws. */
export class ProjectFilesError extends Error {
  override readonly name = 'ProjectFilesError'
  /** The path that caused the error, where it is known; of a bulk, the entry's path. */
  readonly path: string | undefined
  /** Of `rate_limited`: how long the database asks to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined

  constructor(
    readonly kind: ErrorKind,
    message: string,
    /** The database's own code (a SQLSTATE or PostgREST's), or storage's status. */
    readonly code: string = '',
    more: { path?: string | undefined; retryAfterMs?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause })
    this.path = more.path
    this.retryAfterMs = more.retryAfterMs
  }

  /** Whether the same call may succeed later. */
  get isTransient(): boolean {
    return this.kind === 'unavailable' || this.kind === 'rate_limited'
  }
}

/** Another version is current. Used inside this module; callers get a `Conflict` as a result instead. */
export class VersionConflict extends Error {
  constructor(
    readonly path: string,
    readonly expectedVersion: number,
    readonly currentVersion: number,
  ) {
    super(`${path} is at version ${currentVersion}, not ${expectedVersion}`)
  }
}

/** A refusal in the form that supabase-js gives it; status 0 means that there was no answer. */
export interface Refusal {
  status: number
  code?: string | undefined
  message: string
  details?: unknown
}

/** The error for a refused call. `operation` begins its message. */
export function errorFrom(refusal: Refusal, operation: string): ProjectFilesError | VersionConflict {
  const code = refusal.code ?? ''
  const details = parsedDetails(refusal.details)
  const text = (value: unknown) => (typeof value === 'string' ? value : undefined)
  const number = (value: unknown) => (typeof value === 'number' ? value : undefined)
  if (code === 'PT409') {
    const expected = number(details.expected_version)
    const current = number(details.current_version)
    const path = text(details.file_path)
    if (path !== undefined && expected !== undefined && current !== undefined) {
      return new VersionConflict(path, expected, current)
    }
  }
  return new ProjectFilesError(
    errorKind(refusal.status, code),
    `${operation}: ${refusal.message || 'no answer'}`,
    code,
    {
      path: text(details.file_path),
      retryAfterMs: number(details.retry_after_ms),
    },
  )
}

/** Cancelled statement, lock not available, deadlock, serialization failure: the next attempt may succeed. */
const RETRYABLE_SQLSTATES = ['57014', '55P03', '40P01', '40001']

function errorKind(status: number, code: string): ErrorKind {
  if (code === 'PT429' || status === 429) return 'rate_limited'
  if (RETRYABLE_SQLSTATES.includes(code)) return 'unavailable'
  if (status === 401) return 'signed_out'
  if (code === '42501' || status === 403) return 'no_right'
  if (code === 'PGRST202') return 'unsupported'
  if (code === 'PT404' || status === 404) return 'not_found'
  if (status === 413) return 'too_large'
  if (status === 0 || status === 408 || status >= 500) return 'unavailable'
  return status >= 400 ? 'refused' : 'unexpected'
}

function parsedDetails(details: unknown): Record<string, unknown> {
  let value = details
  if (typeof value === 'string') {
    try {
      value = JSON.parse(value)
    } catch {
      return {}
    }
  }
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}
