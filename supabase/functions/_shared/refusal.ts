import { messageOf } from './http.ts'

/** The codes of the functions' own refusals. Refusals of the database keep its codes, such as `PT429`. */
export const REFUSAL_CODES = [
  'unauthenticated',
  'invalid_request',
  'no_right',
  'foreign_session',
  'not_found',
  'method_not_allowed',
  'ended',
  'too_large',
  'snapshot_too_large',
  'asset_missing',
  'unavailable',
  'internal',
] as const
export type RefusalCode = (typeof REFUSAL_CODES)[number]
/** A PostgreSQL or PostgREST code; the second part keeps the known codes in the editor's completion. */
export type DatabaseCode = string & Record<never, never>

/** A refused request: an HTTP status, a code for programs, a sentence for people. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: RefusalCode | DatabaseCode,
    message: string,
    readonly details?: Record<string, unknown>,
    options?: ErrorOptions,
  ) {
    super(message, options)
    this.name = 'Refusal'
  }
}

/** 401: the caller is not known. */
export function unauthenticated(message: string): Refusal {
  return new Refusal(401, 'unauthenticated', message)
}

/** 400: the request does not follow the contract. */
export function invalid(message: string): Refusal {
  return new Refusal(400, 'invalid_request', message)
}

/** 503: a service that is needed does not answer. A later attempt may succeed. */
export function unavailable(operation: string, cause: unknown): Refusal {
  return new Refusal(503, 'unavailable', `${operation}: ${messageOf(cause)}`, undefined, { cause })
}
