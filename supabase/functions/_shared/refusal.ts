/** An answer that is not what was asked for: its HTTP status, a code for programs, a sentence for people. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details?: Record<string, unknown>,
    options?: ErrorOptions,
  ) {
    super(message, options)
    this.name = 'Refusal'
  }
}

/** 401: who asks is not known. */
export function unauthenticated(message: string): Refusal {
  return new Refusal(401, 'unauthenticated', message)
}

/** 400: the request is not what the contract says. */
export function invalid(message: string): Refusal {
  return new Refusal(400, 'invalid_request', message)
}

/** 503: something that is needed does not answer; asked again later, it may. */
export function unavailable(operation: string, cause: unknown): Refusal {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new Refusal(503, 'unavailable', `${operation}: ${why}`, undefined, { cause })
}
