/** How an operation fails. `late`: its effect comes after the caller has given up. */
export const FAULT_KINDS = ['429', '429 retry-after', '500', '503', 'hang', 'cut before', 'cut after', 'late'] as const
export type FaultKind = (typeof FAULT_KINDS)[number]

/** A refusal by the database. */
interface DatabaseRefusal {
  status: number
  code: string
}

interface Fault {
  operation: string
  kind: FaultKind | DatabaseRefusal
  left: number
}

/** Makes operations of a server fail, by their names. */
export class Faults {
  #faults: Fault[] = []
  #held: (() => void)[] = []
  /** How often each operation was called. */
  readonly calls = new Map<string, number>()

  /** The next `times` calls of the operation fail. */
  fail(operation: string, kind: FaultKind, times = Infinity): void {
    this.#faults.push({ operation, kind, left: times })
  }

  /** All calls of the operation are refused with this answer. */
  refuse(operation: string, status: number, code: string): void {
    this.#faults.push({ operation, kind: { status, code }, left: Infinity })
  }

  /** Ends all faults; effects that were held back happen now. */
  async clear(): Promise<void> {
    this.#faults = []
    const held = this.#held.splice(0)
    for (const go of held) go()
    // Gives the held effects time to begin.
    if (held.length > 0) await new Promise((done) => setTimeout(done, 20))
  }

  /** Runs an operation, or its fault. */
  async run(operation: string, effect: () => Promise<Response>): Promise<Response> {
    this.calls.set(operation, (this.calls.get(operation) ?? 0) + 1)
    const fault = this.#faults.find((one) => one.operation === operation && one.left > 0)
    if (!fault) return await effect()
    fault.left--
    if (typeof fault.kind === 'object') {
      const { status, code } = fault.kind
      return Response.json({ code, message: 'refused' }, { status })
    }
    switch (fault.kind) {
      case '429':
        return refusal(429, 'rate limit exceeded')
      case '429 retry-after':
        return refusal(429, 'rate limit exceeded', { 'retry-after': '1' })
      case '500':
        return refusal(500, 'internal: something broke')
      case '503':
        return refusal(503, 'unavailable: no capacity')
      case 'hang':
        await this.#hold()
        return refusal(500, 'the caller has gone')
      case 'cut before':
        return cutAnswer()
      case 'cut after':
        await effect().then((answer) => answer.body?.cancel())
        return cutAnswer()
      case 'late':
        await this.#hold()
        return await effect()
    }
  }

  async #hold(): Promise<void> {
    await new Promise<void>((go) => this.#held.push(go))
  }
}

function refusal(status: number, error: string, headers: Record<string, string> = {}): Response {
  return Response.json({ error }, { status, headers })
}

/** An answer whose connection is cut before its end. */
function cutAnswer(): Response {
  return new Response(new ReadableStream({ pull: (body) => body.error('cut') }))
}
