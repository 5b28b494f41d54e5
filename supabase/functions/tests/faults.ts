/** How an operation fails. `late`: its effect comes after whoever asked has given up. */
export const KINDS = ['429', '429 retry-after', '500', '503', 'hang', 'cut before', 'cut after', 'late'] as const
export type Kind = (typeof KINDS)[number]

/** An answer of the database's own, which says no. */
interface No {
  status: number
  code: string
}

interface Fault {
  operation: string
  kind: Kind | No
  left: number
}

/** Makes operations of a server fail, each by its name. */
export class Faults {
  #faults: Fault[] = []
  #held: (() => void)[] = []
  /** How often each operation was asked for. */
  readonly asked = new Map<string, number>()

  /** From now on, the operation fails so many times. */
  fail(operation: string, kind: Kind, times = Infinity): void {
    this.#faults.push({ operation, kind, left: times })
  }

  /** From now on, the operation is answered so. */
  refuse(operation: string, status: number, code: string): void {
    this.#faults.push({ operation, kind: { status, code }, left: Infinity })
  }

  /** Everything works again; what was held back happens now. */
  async mend(): Promise<void> {
    this.#faults = []
    const held = this.#held.splice(0)
    for (const go of held) go()
    // What was held back is at work.
    if (held.length > 0) await new Promise((done) => setTimeout(done, 20))
  }

  /** Answers for an operation with what it does, or with its fault. */
  async meet(operation: string, effect: () => Promise<Response>): Promise<Response> {
    this.asked.set(operation, (this.asked.get(operation) ?? 0) + 1)
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
        return refusal(500, 'nobody is there to hear this')
      case 'cut before':
        return broken()
      case 'cut after':
        await effect().then((answer) => answer.body?.cancel())
        return broken()
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

/** An answer whose connection breaks before it is whole. */
function broken(): Response {
  return new Response(new ReadableStream({ pull: (body) => body.error('cut') }))
}
