import { ProjectFilesError } from './errors.js'

/** How calls are repeated. */
export interface RetryPolicy {
  /** Tries of one call in all. */
  attempts: number
  /** The first wait is at most this long; each further one at most twice the one before. Milliseconds. */
  baseMs: number
  /** No wait is longer, but for one that the database asks for. Milliseconds. */
  capMs: number
  /** How long one try may take. Milliseconds. */
  timeoutMs: number
  /** A call is given up where the database asks for a longer wait. Milliseconds. */
  patienceMs: number
  /** From 0 up to, not including, 1. */
  random: () => number
}

export const RETRY: RetryPolicy = {
  attempts: 6,
  baseMs: 200,
  capMs: 5_000,
  timeoutMs: 30_000,
  patienceMs: 60_000,
  random: Math.random,
}

/**
 * How long to wait after try number `tried` (from 1) failed with `error`, or null to give up. The wait is random over its
 * whole range, so that many clients do not come back at once.
 */
export function waitAfter(error: unknown, tried: number, policy: RetryPolicy): number | null {
  if (!(error instanceof ProjectFilesError) || !error.passes || tried >= policy.attempts) return null
  const wait = policy.random() * Math.min(policy.capMs, policy.baseMs * 2 ** (tried - 1))
  const asked = error.retryAfterMs ?? 0
  return asked > policy.patienceMs ? null : asked + wait
}

/** One try. `unsure`: an earlier one may have taken effect, though its answer was lost. */
export type Try<T> = (signal: AbortSignal, unsure: boolean) => Promise<T>

/** Tries until it succeeds, fails for good, or `signal` ends it. */
export async function retrying<T>(once: Try<T>, policy: RetryPolicy, signal: AbortSignal): Promise<T> {
  let unsure = false
  for (let tried = 1; ; tried += 1) {
    try {
      return await limited((limit) => once(limit, unsure), policy.timeoutMs, signal)
    } catch (error) {
      const wait = waitAfter(error, tried, policy)
      if (wait === null) throw error
      unsure ||= error instanceof ProjectFilesError && error.kind === 'unavailable'
      await pause(wait, signal)
    }
  }
}

/** Waits, unless `signal` ends it. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(aborted(signal))
    const end = () => {
      clearTimeout(timer)
      reject(aborted(signal))
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', end)
      resolve()
    }, ms)
    signal.addEventListener('abort', end, { once: true })
  })
}

export function aborted(signal: AbortSignal): ProjectFilesError {
  return new ProjectFilesError('aborted', 'the call was aborted', '', { cause: signal.reason })
}

/** Lets `once` go on for so long at most. It need not listen to its signal: what it still does then is not waited for. */
function limited<T>(once: (signal: AbortSignal) => Promise<T>, ms: number, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    if (signal.aborted) return reject(aborted(signal))
    const limit = new AbortController()
    const stop = (error: ProjectFilesError) => {
      reject(error)
      limit.abort(error)
    }
    const end = () => stop(aborted(signal))
    const timer = setTimeout(() => stop(new ProjectFilesError('unavailable', `no answer within ${ms} ms`)), ms)
    signal.addEventListener('abort', end, { once: true })
    once(limit.signal)
      .then(resolve, reject)
      .finally(() => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
      })
  })
}
