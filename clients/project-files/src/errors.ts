/**
 * Why a call failed.
 * - `no_right`: this caller may not, or there is no such project (the database does not tell them apart).
 * - `signed_out`: no token, or one that has expired.
 * - `refused`: a path or value that the database does not take; its message says which.
 * - `too_large`: what a gateway or storage does not take for its size.
 * - `not_found`: no such file, or a version that is gone.
 * - `rate_limited`: too many writes, still after the retries.
 * - `unavailable`: the network, or a server that failed, still after the retries. A write may have taken effect.
 * - `aborted`: by the caller's signal, or by `close`. A write may have taken effect.
 * - `unsupported`: the database lacks the function.
 * - `unexpected`: an answer that this module does not understand.
 */
export type Kind =
  | 'no_right'
  | 'signed_out'
  | 'refused'
  | 'too_large'
  | 'not_found'
  | 'rate_limited'
  | 'unavailable'
  | 'aborted'
  | 'unsupported'
  | 'unexpected'

export class ProjectFilesError extends Error {
  override readonly name = 'ProjectFilesError'
  /** Of a bulk: the entry at fault. */
  readonly path: string | undefined
  /** Of `rate_limited`: how long to wait, in milliseconds, where the database said so. */
  readonly retryAfterMs: number | undefined

  constructor(
    readonly kind: Kind,
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
  get passes(): boolean {
    return this.kind === 'unavailable' || this.kind === 'rate_limited'
  }
}

/** Another version is current. Of the functions' callers only; users get a [`Conflict`] as a result. */
export class VersionConflict extends Error {
  constructor(
    readonly path: string,
    readonly expectedVersion: number,
    readonly currentVersion: number,
  ) {
    super(`${path} is at version ${currentVersion}, not ${expectedVersion}`)
  }
}

/** A refusal as supabase-js gives it; status 0 where there was no answer. */
export interface Refusal {
  status: number
  code?: string | undefined
  message: string
  details?: unknown
}

/** What a caller is to do about a refusal. */
export function understood(refusal: Refusal, operation: string): ProjectFilesError | VersionConflict {
  const code = refusal.code ?? ''
  const details = parsed(refusal.details)
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
  return new ProjectFilesError(kindOf(refusal.status, code), `${operation}: ${refusal.message || 'no answer'}`, code, {
    path: text(details.file_path),
    retryAfterMs: number(details.retry_after_ms),
  })
}

/** Failures of a statement that met others: the next try may find the way free. */
const MET_OTHERS = ['57014', '55P03', '40P01', '40001']

function kindOf(status: number, code: string): Kind {
  if (code === 'PT429' || status === 429) return 'rate_limited'
  if (MET_OTHERS.includes(code)) return 'unavailable'
  if (status === 401) return 'signed_out'
  if (code === '42501' || status === 403) return 'no_right'
  if (code === 'PGRST202') return 'unsupported'
  if (code === 'PT404' || status === 404) return 'not_found'
  if (status === 413) return 'too_large'
  if (status === 0 || status === 408 || status >= 500) return 'unavailable'
  return status >= 400 ? 'refused' : 'unexpected'
}

function parsed(details: unknown): Record<string, unknown> {
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
