import { Answered, ask } from './ask.ts'
import { Refusal, unavailable } from './refusal.ts'
import type { Settings } from './settings.ts'

/** PostgREST's functions, called as the service or as a person. */
export class Database {
  constructor(readonly settings: Settings) {}

  /**
   * Calls a function with the service's right, or with a person's token. A refusal of the database (a PostgreSQL code in
   * the body) becomes a `Refusal` with its own status; no answer at all is 503, and so is a refusal of the service's own
   * right: whoever asked us has not lost theirs.
   */
  async call<T>(name: string, args: Record<string, unknown>, token?: string): Promise<T> {
    const { supabaseUrl, anonKey, serviceKey, patience } = this.settings
    const asPerson = token !== undefined
    const headers = {
      'content-type': 'application/json',
      apikey: asPerson ? anonKey : serviceKey.reveal(),
      ...bearerOf(asPerson ? token : serviceKey.reveal()),
    }
    try {
      return await ask(
        { operation: `calling ${name}`, patience, final: isOfTheFunction },
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

/** The newer secret keys are no JWTs: sent as `apikey` alone, the gateway puts the role in. */
export function bearerOf(key: string): Record<string, string> {
  return key.startsWith('sb_secret_') ? {} : { authorization: `Bearer ${key}` }
}

/** A function's own refusal says `PT` and its status, such as PT429 for too many sessions: asked again at once it says the same. */
function isOfTheFunction(answer: Answered): boolean {
  return answer.status < 500 && /^PT\d{3}$/.test(said(answer).code ?? '')
}

function refusal(name: string, error: unknown, asPerson: boolean): Refusal {
  if (!(error instanceof Answered)) return unavailable('the database', error)
  const { code, message, details: text } = said(error)
  if (error.status >= 500 || !code) return unavailable('the database', error)
  if (!asPerson && (error.status === 401 || error.status === 403 || code === '42501') && !code.startsWith('PT')) {
    return unavailable("the database refuses the service's own key", error)
  }
  const details = typeof text === 'string' ? parsed(text) : undefined
  // 42501 for a project that is not there and for somebody else's: which of them is nobody's business.
  const status = code === '42501' ? 403 : error.status
  return new Refusal(status, code, message ?? `calling ${name} was refused`, details, { cause: error })
}

/** The error's body, as far as it is JSON: elsewhere the status has to do. */
function said(answer: Answered): { code?: string; message?: string; details?: unknown } {
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
