import { invalid, Refusal } from './refusal.ts'

/** Editors call from pages of other origins. Tokens are sent in a header, never in a cookie, so every origin is allowed. */
const CORS = {
  'access-control-allow-origin': '*',
  'access-control-allow-headers': 'authorization, apikey, content-type, x-client-info',
  'access-control-allow-methods': 'GET, POST, DELETE, OPTIONS',
  'access-control-max-age': '86400',
}
/** The largest body of a request, in bytes. */
const MAX_BODY = 64 << 10

/** Wraps a handler: answers preflights, and turns errors into JSON answers; an unexpected error is 500 without details. */
export function withErrors(handle: (request: Request) => Promise<Response>): (request: Request) => Promise<Response> {
  return async (request) => {
    if (request.method === 'OPTIONS') return new Response(null, { status: 204, headers: CORS })
    let response: Response
    try {
      response = await handle(request)
    } catch (error) {
      response = refused(error)
    }
    for (const [name, value] of Object.entries(CORS)) response.headers.set(name, value)
    return response
  }
}

function refused(error: unknown): Response {
  if (!(error instanceof Refusal)) {
    console.error('unexpected error:', error instanceof Error ? error.stack : String(error))
    return json(500, { code: 'internal', message: 'unexpected error; see the log of the function' })
  }
  const { status, code, message, details, cause } = error
  if (status >= 500) {
    const reason = cause instanceof Error && !message.includes(cause.message) ? `: ${cause.message}` : ''
    console.error(`${status} ${code}: ${message}${reason}`)
  }
  const response = json(status, { code, message, ...(details ? { details } : {}) })
  if (status === 401) response.headers.set('www-authenticate', 'Bearer')
  if (status === 429 || status === 503) response.headers.set('retry-after', '2')
  return response
}

/** A JSON answer that must not be cached: most contain a token or a signed URL. */
export function json(status: number, body: unknown): Response {
  return Response.json(body, { status, headers: { 'cache-control': 'no-store' } })
}

/** The request's body as an object; an empty body is an empty object. Refused where it is larger than 64 KiB or not a JSON object. */
export async function body(request: Request): Promise<Record<string, unknown>> {
  const text = await boundedText(request)
  if (text === '') return {}
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw invalid('the body is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid('the body is not a JSON object')
  }
  return value as Record<string, unknown>
}

async function boundedText(request: Request): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let read = 0
  for await (const piece of request.body ?? []) {
    read += piece.byteLength
    if (read > MAX_BODY) throw new Refusal(413, 'too_large', `the body is larger than ${MAX_BODY} bytes`)
    text += decoder.decode(piece, { stream: true })
  }
  return text + decoder.decode()
}

/** The bearer token of the request, or null. */
export function bearer(request: Request): string | null {
  const header = request.headers.get('authorization')
  return header?.startsWith('Bearer ') ? header.slice('Bearer '.length).trim() || null : null
}

/** The parts of the path after the function's name, whether or not the gateway has removed the prefix before it. */
export function pathBelow(request: Request, name: string): string[] {
  const parts = new URL(request.url).pathname.split('/').filter((part) => part !== '')
  return parts.slice(parts.indexOf(name) + 1)
}
