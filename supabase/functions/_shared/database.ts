import { HttpError, request } from './http.ts'
import { Refusal, unavailable } from './refusal.ts'
import type { Settings } from './settings.ts'

/** Calls PostgREST's functions, as the service or as a person. */
export class Database {
  constructor(readonly settings: Settings) {}

  /**
   * Calls a function with the service's key, or with a person's token. A refusal by the database (a PostgreSQL code in the
   * body) becomes a `Refusal` with the same status. No answer is 503, and so is a refusal of the service's own key: it says
   * nothing about the caller's rights.
   */
  async call<T>(name: string, args: Record<string, unknown>, token?: string): Promise<T> {
    const { supabaseUrl, anonKey, serviceKey, retry } = this.settings
    const asPerson = token !== undefined
    const headers = {
      'content-type': 'application/json',
      apikey: asPerson ? anonKey : serviceKey.reveal(),
      ...bearerOf(asPerson ? token : serviceKey.reveal()),
    }
    try {
      return await request(
        { operation: `calling ${name}`, retry, isFinal: isFinalRefusal },
        () => [`${supabaseUrl}/rest/v1/rpc/${name}`, { method: 'POST', headers, body: JSON.stringify(args) }],
        async (response) => {
          const text = await response.text()
          return (text === '' ? null : JSON.parse(text)) as T
        },
      )
    } catch (error) {
      throw refusal(name, error, asPerson)
    }
  }
}

/** The newer secret keys are not JWTs: they are sent as `apikey` only, and the gateway adds the role. */
export function bearerOf(key: string): Record<string, string> {
  return key.startsWith('sb_secret_') ? {} : { authorization: `Bearer ${key}` }
}

/** Refusals by a function itself have the code `PT` and a status, such as PT429 for too many sessions: repeating does not help. */
function isFinalRefusal(answer: HttpError): boolean {
  return answer.status < 500 && /^PT\d{3}$/.test(errorBody(answer).code ?? '')
}

function refusal(name: string, error: unknown, asPerson: boolean): Refusal {
  if (!(error instanceof HttpError)) return unavailable('the database', error)
  const { code, message, details: text } = errorBody(error)
  if (error.status >= 500 || !code) return unavailable('the database', error)
  if (!asPerson && (error.status === 401 || error.status === 403 || code === '42501') && !code.startsWith('PT')) {
    return unavailable("the database refuses the service's key", error)
  }
  const details = typeof text === 'string' ? parsed(text) : undefined
  // 42501 for a project that does not exist and for one without a right: the two are not distinguished.
  const status = code === '42501' ? 403 : error.status
  return new Refusal(status, code, message ?? `calling ${name} was refused`, details, { cause: error })
}

/** The body of an error answer; empty where it is not JSON. */
function errorBody(answer: HttpError): { code?: string; message?: string; details?: unknown } {
  return parsed(answer.body) ?? {}
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}
