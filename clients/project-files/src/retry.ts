import { ProjectFilesError } from './errors.js'

/** How calls are repeated. */
export interface RetryPolicy {
  /** Attempts of one call in all. */
  attempts: number
  /** The first delay is at most this long; each further one at most twice the one before. Milliseconds. */
  baseMs: number
  /** No delay is longer, except one that the database asks for. Milliseconds. */
  capMs: number
  /** How long one attempt may take. Milliseconds. */
  timeoutMs: number
  /** The call fails at once where the database asks for a longer delay than this. Milliseconds. */
  maxRetryAfterMs: number
  /** A number from 0 up to, but not including, 1. */
  random: () => number
}

export const DEFAULT_RETRY: RetryPolicy = {
  attempts: 6,
  baseMs: 200,
  capMs: 5_000,
  timeoutMs: 30_000,
  maxRetryAfterMs: 60_000,
  random: Math.random,
}

/**
 * How long to wait after attempt number `attempt` (from 1) failed with `error`, or null where the call has failed. The delay
 * is random over its whole range, so that many clients do not come back at the same moment.
 */
export function retryDelay(error: unknown, attempt: number, policy: RetryPolicy): number | null {
  if (!(error instanceof ProjectFilesError) || !error.isTransient || attempt >= policy.attempts) return null
  const delay = policy.random() * Math.min(policy.capMs, policy.baseMs * 2 ** (attempt - 1))
  const requested = error.retryAfterMs ?? 0
  return requested > policy.maxRetryAfterMs ? null : requested + delay
}

/** One attempt. `mayHaveTakenEffect`: the answer of an earlier attempt was lost. */
export type Attempt<T> = (signal: AbortSignal, mayHaveTakenEffect: boolean) => Promise<T>

/** Repeats until an attempt succeeds, the call has failed, or `signal` ends it. */
export async function withRetries<T>(attempt: Attempt<T>, policy: RetryPolicy, signal: AbortSignal): Promise<T> {
  let mayHaveTakenEffect = false
  for (let number = 1; ; number += 1) {
    try {
      return await withTimeout((limit) => attempt(limit, mayHaveTakenEffect), policy.timeoutMs, signal)
    } catch (error) {
      const delay = retryDelay(error, number, policy)
      if (delay === null) throw error
      mayHaveTakenEffect ||= error instanceof ProjectFilesError && error.kind === 'unavailable'
      await sleep(delay, signal)
    }
  }
}

/** Waits `ms` milliseconds, or rejects as `aborted` when `signal` ends it. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(abortedError(signal))
    const onAbort = () => {
      clearTimeout(timer)
      reject(abortedError(signal))
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort)
      resolve()
    }, ms)
    signal.addEventListener('abort', onAbort, { once: true })
  })
}

export function abortedError(signal: AbortSignal): ProjectFilesError {
  return new ProjectFilesError('aborted', 'the call was aborted', '', { cause: signal.reason })
}

/** Rejects after `ms` milliseconds, also where `attempt` ignores its signal: its late result is dropped. */
function withTimeout<T>(attempt: (signal: AbortSignal) => Promise<T>, ms: number, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    if (signal.aborted) return reject(abortedError(signal))
    const limit = new AbortController()
    const stop = (error: ProjectFilesError) => {
      reject(error)
      limit.abort(error)
    }
    const onAbort = () => stop(abortedError(signal))
    const timer = setTimeout(() => stop(new ProjectFilesError('unavailable', `no answer within ${ms} ms`)), ms)
    signal.addEventListener('abort', onAbort, { once: true })
    attempt(limit.signal)
      .then(resolve, reject)
      .finally(() => {
        clearTimeout(timer)
        signal.removeEventListener('abort', onAbort)
      })
  })
}
