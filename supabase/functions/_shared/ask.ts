/** How long others are waited for, and how often they are asked again. */
export interface Patience {
  /** How often something is asked before it counts as down. */
  tries: number
  /** Milliseconds before the second try, doubled for each further one, and the most of them; with jitter. */
  firstWaitMs: number
  longestWaitMs: number
  /** Milliseconds for one try, its answer's body included, and for one that carries a whole file or snapshot. */
  tryMs: number
  longTryMs: number
  /** Milliseconds for all tries together where no deadline is given. */
  totalMs: number
}

/** With 4 tries about 2 s of waiting, and 30 s where nothing answers: well within the 150 s that a function may take. */
export const PATIENCE: Patience = {
  tries: 4,
  firstWaitMs: 250,
  longestWaitMs: 5_000,
  tryMs: 15_000,
  longTryMs: 60_000,
  totalMs: 30_000,
}

/** A moment after which it is too late for whatever was asked. */
export class Deadline {
  readonly #at: number

  private constructor(at: number) {
    this.#at = at
  }

  static in(milliseconds: number): Deadline {
    return new Deadline(performance.now() + milliseconds)
  }

  /** Milliseconds that are left; none is 0. */
  left(): number {
    return Math.max(0, this.#at - performance.now())
  }
}

/** An answer whose status says no. The body is kept short: it goes into messages. */
export class Answered extends Error {
  constructor(
    readonly operation: string,
    readonly status: number,
    readonly body: string,
  ) {
    super(`${operation}: HTTP ${status}: ${body.slice(0, 300)}`)
    this.name = 'Answered'
  }
}

export interface Asking {
  operation: string
  patience: Patience
  /** Milliseconds for one try, where the patience's own does not fit. */
  timeout?: number
  /** For all tries together, waits between them included. */
  deadline?: Deadline
  tries?: number
  /** Whether an answer of 429 or 5xx is a refusal all the same, so that asking again is no use. */
  final?: (answer: Answered) => boolean
}

/**
 * `fetch`, tried again with backoff and jitter on 429, 5xx and a broken connection, and given up on every other status as
 * `Answered`. `request` is made anew for each try, since a body is read only once. `Retry-After` is heeded within the bounds.
 */
export async function ask<T>(
  asking: Asking,
  request: () => [string, RequestInit],
  read: (response: Response) => Promise<T>,
): Promise<T> {
  const { operation, patience } = asking
  const deadline = asking.deadline ?? Deadline.in(Math.max(patience.totalMs, asking.timeout ?? 0))
  const tries = asking.tries ?? patience.tries
  for (let attempt = 1; ; attempt++) {
    let wait = Math.min(patience.firstWaitMs * 2 ** (attempt - 1), patience.longestWaitMs) * (0.5 + Math.random())
    let failure: Error
    try {
      const [url, init] = request()
      const timeout = Math.min(asking.timeout ?? patience.tryMs, deadline.left())
      const response = await fetch(url, { ...init, signal: AbortSignal.timeout(Math.ceil(timeout)) })
      if (response.ok) return await read(response)
      const answer = new Answered(operation, response.status, await response.text())
      if ((response.status !== 429 && response.status < 500) || asking.final?.(answer)) throw answer
      const after = Number(response.headers.get('retry-after'))
      if (after > 0) wait = Math.min(after * 1000, patience.longestWaitMs)
      failure = answer
    } catch (error) {
      if (error instanceof Answered) throw error
      failure = new Error(`${operation}: ${error instanceof Error ? error.message : error}`, { cause: error })
    }
    if (attempt >= tries || deadline.left() <= wait) throw failure
    await pause(wait)
  }
}

/** Waits so many milliseconds. */
export async function pause(milliseconds: number): Promise<void> {
  await new Promise((done) => setTimeout(done, milliseconds))
}
