/** How often something is asked before it counts as down; with the waits below about 4 s in all, well within a function's time. */
const TRIES = 4;
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5_000;

/** An answer whose status says no. The body is kept short: it goes into messages. */
export class Answered extends Error {
  constructor(readonly operation: string, readonly status: number, readonly body: string) {
    super(`${operation}: HTTP ${status}: ${body.slice(0, 300)}`);
    this.name = "Answered";
  }
}

export interface Asking {
  operation: string;
  /** Milliseconds for one try, body included where `read` reads it. */
  timeout?: number;
  /** Statuses that are answers and no faults, besides 2xx. */
  accept?: number[];
  tries?: number;
}

/**
 * `fetch`, tried again with backoff and jitter on 429, 5xx and a broken connection, and given up on every other status as
 * `Answered`. `request` is made anew for each try, since a body is read only once. `Retry-After` is heeded up to 5 s.
 */
export async function ask<T>(
  asking: Asking,
  request: () => [string, RequestInit],
  read: (response: Response) => Promise<T>,
): Promise<T> {
  const tries = asking.tries ?? TRIES;
  for (let attempt = 1;; attempt++) {
    let failure: Error;
    let wait = Math.min(FIRST_WAIT_MS * 2 ** (attempt - 1), LONGEST_WAIT_MS) * (0.5 + Math.random());
    try {
      const [url, init] = request();
      const response = await fetch(url, { ...init, signal: AbortSignal.timeout(asking.timeout ?? 15_000) });
      if (response.ok || asking.accept?.includes(response.status)) return await read(response);
      failure = new Answered(asking.operation, response.status, await response.text());
      if (response.status !== 429 && response.status < 500) throw failure;
      const after = Number(response.headers.get("retry-after"));
      if (after > 0) wait = Math.min(after * 1000, LONGEST_WAIT_MS);
    } catch (error) {
      if (error instanceof Answered && error.status !== 429 && error.status < 500) throw error;
      failure = error instanceof Answered
        ? error
        : new Error(`${asking.operation}: ${error instanceof Error ? error.message : error}`, { cause: error });
    }
    if (attempt >= tries) throw failure;
    await new Promise((done) => setTimeout(done, wait));
  }
}
