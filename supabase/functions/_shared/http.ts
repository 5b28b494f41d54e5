/** How long requests to other services may take, and how often they are repeated. Times are milliseconds. */
export interface RetryPolicy {
  /** Attempts before a service counts as unavailable. */
  attempts: number
  /** The delay before the second attempt, doubled for each further one up to `maxDelayMs`; with jitter. */
  firstDelayMs: number
  maxDelayMs: number
  /** One attempt, including the body of its answer. */
  attemptMs: number
  /** One attempt that transfers a whole file or snapshot. */
  transferMs: number
  /** All attempts together, where no deadline is given. */
  totalMs: number
}

/** Four attempts wait about 2 s in all, and 30 s where nothing answers: well within the 150 s that a function may take. */
export const DEFAULT_RETRY: RetryPolicy = {
  attempts: 4,
  firstDelayMs: 250,
  maxDelayMs: 5_000,
  attemptMs: 15_000,
  transferMs: 60_000,
  totalMs: 30_000,
}

/** A moment after which a result is not useful any more. */
export class Deadline {
  readonly #at: number

  private constructor(at: number) {
    this.#at = at
  }

  static in(milliseconds: number): Deadline {
    return new Deadline(performance.now() + milliseconds)
  }

  /** Milliseconds until the deadline; 0 where it has passed. */
  left(): number {
    return Math.max(0, this.#at - performance.now())
  }
}

/** An answer with a status other than 2xx. The message contains the beginning of the body. */
export class HttpError extends Error {
  constructor(
    readonly operation: string,
    readonly status: number,
    readonly body: string,
  ) {
    super(`${operation}: HTTP ${status}: ${body.slice(0, 300)}`)
    this.name = 'HttpError'
  }
}

export interface RequestOptions {
  /** What the request does, for messages: `creating a machine`. */
  operation: string
  retry: RetryPolicy
  /** Milliseconds for one attempt, in place of the policy's. */
  timeout?: number
  /** For all attempts together, including the delays between them. */
  deadline?: Deadline
  attempts?: number
  /** Whether an answer of 429 or 5xx is a refusal that another attempt cannot change. */
  isFinal?: (answer: HttpError) => boolean
}

/**
 * `fetch`, repeated with backoff and jitter after 429, 5xx and a broken connection. Any other status throws `HttpError` at
 * once. `build` makes the request for each attempt, since a body can be read only once. `Retry-After` is followed up to
 * `maxDelayMs`.
 */
export async function request<T>(
  options: RequestOptions,
  build: () => [string, RequestInit],
  read: (response: Response) => Promise<T>,
): Promise<T> {
  const { operation, retry } = options
  const deadline = options.deadline ?? Deadline.in(Math.max(retry.totalMs, options.timeout ?? 0))
  const attempts = options.attempts ?? retry.attempts
  for (let attempt = 1; ; attempt++) {
    let delay = Math.min(retry.firstDelayMs * 2 ** (attempt - 1), retry.maxDelayMs) * (0.5 + Math.random())
    let failure: Error
    try {
      const [url, init] = build()
      const timeout = Math.min(options.timeout ?? retry.attemptMs, deadline.left())
      const response = await fetch(url, { ...init, signal: AbortSignal.timeout(Math.ceil(timeout)) })
      if (response.ok) return await read(response)
      const answer = new HttpError(operation, response.status, await response.text())
      if ((response.status !== 429 && response.status < 500) || options.isFinal?.(answer)) throw answer
      const after = Number(response.headers.get('retry-after'))
      if (after > 0) delay = Math.min(after * 1000, retry.maxDelayMs)
      failure = answer
    } catch (error) {
      if (error instanceof HttpError) throw error
      failure = new Error(`${operation}: ${messageOf(error)}`, { cause: error })
    }
    if (attempt >= attempts || deadline.left() <= delay) throw failure
    await sleep(delay)
  }
}

/** Waits so many milliseconds. */
export async function sleep(milliseconds: number): Promise<void> {
  await new Promise((done) => setTimeout(done, milliseconds))
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
