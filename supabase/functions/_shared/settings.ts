import { DEFAULT_RETRY, type RetryPolicy } from './http.ts'
import { Secret } from './secret.ts'

/** Reads one variable; the tests give their own. */
export type Environment = (name: string) => string | undefined

/** The settings of the functions. On hosted Supabase the names of own secrets must not begin with `SUPABASE_`. */
export interface Settings {
  supabaseUrl: string
  /** The public key, the only key that machines receive. */
  anonKey: string
  serviceKey: Secret
  /** Base URL of these functions, as machines reach them. */
  functionsUrl: string
  /** The ES256 key that signs agents' tokens, as a private JWK with its `kid`; null where the legacy secret signs them. */
  signingKey: Secret | null
  /** The legacy HS256 secret of the project, where it has one. It verifies people's tokens, and signs agents' where there is no key. */
  legacySecret: Secret | null
  /** Seconds that an agent's token is valid. */
  tokenSeconds: number
  /** Seconds that a snapshot's URL is valid. */
  snapshotUrlSeconds: number
  /** The sweep ends a session that was not used for so many seconds. */
  idleSeconds: number
  retry: RetryPolicy
  environment: Environment
}

/** Reads the settings. Throws, naming the variable, where one is missing or out of its bounds. */
export function readSettings(environment: Environment, retry = DEFAULT_RETRY): Settings {
  const supabaseUrl = required(environment, 'SUPABASE_URL').replace(/\/+$/, '')
  const signingKey = signingKeyOf(environment('PREVIEW_JWT_KEY'))
  const legacySecret = environment('PREVIEW_JWT_SECRET')
  if (!signingKey && !legacySecret) throw new Error('PREVIEW_JWT_KEY or PREVIEW_JWT_SECRET must be set')
  return {
    supabaseUrl,
    anonKey: defaultKey(environment('SUPABASE_PUBLISHABLE_KEYS')) ?? required(environment, 'SUPABASE_ANON_KEY'),
    serviceKey: new Secret(
      defaultKey(environment('SUPABASE_SECRET_KEYS')) ?? required(environment, 'SUPABASE_SERVICE_ROLE_KEY'),
    ),
    functionsUrl: (environment('FUNCTIONS_URL') || `${supabaseUrl}/functions/v1`).replace(/\/+$/, ''),
    signingKey,
    legacySecret: legacySecret ? new Secret(legacySecret) : null,
    tokenSeconds: wholeNumber(environment, 'PREVIEW_TOKEN_SECONDS', 3600, 5, 86_400),
    snapshotUrlSeconds: wholeNumber(environment, 'PREVIEW_SNAPSHOT_URL_SECONDS', 600, 5, 86_400),
    idleSeconds: wholeNumber(environment, 'PREVIEW_IDLE_SECONDS', 1800, 1, 7 * 86_400),
    retry,
    environment,
  }
}

/** The value of a variable. Throws where it is not set. */
export function required(environment: Environment, name: string): string {
  const value = environment(name)
  if (!value) throw new Error(`${name} must be set`)
  return value
}

/** A whole number within bounds, or the default where the variable is not set. Throws for any other value. */
export function wholeNumber(
  environment: Environment,
  name: string,
  byDefault: number,
  least: number,
  most: number,
): number {
  const text = environment(name)
  if (!text) return byDefault
  const value = Number(text)
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new Error(`${name} must be a whole number from ${least} to ${most}`)
  }
  return value
}

/** Checks the key. The messages do not contain a parser's message, since that would quote the key. */
function signingKeyOf(text: string | undefined): Secret | null {
  if (!text) return null
  let key: Record<string, unknown> | null
  try {
    key = JSON.parse(text)
  } catch {
    throw new Error('PREVIEW_JWT_KEY is not JSON: it must be a private ES256 JWK with a kid')
  }
  const parts = [key?.kid, key?.d, key?.x, key?.y]
  const isWhole = parts.every((part) => typeof part === 'string' && part !== '')
  if (key?.kty !== 'EC' || key.crv !== 'P-256' || !isWhole) {
    throw new Error('PREVIEW_JWT_KEY must be a private ES256 JWK with a kid')
  }
  return new Secret(text)
}

/** Hosted Supabase provides the newer keys as one JSON object from name to key: returns the one named `default`, else the first. */
function defaultKey(keys: string | undefined): string | undefined {
  if (!keys) return undefined
  let all: Record<string, string>
  try {
    all = JSON.parse(keys)
  } catch {
    throw new Error('SUPABASE_SECRET_KEYS and SUPABASE_PUBLISHABLE_KEYS hold JSON objects')
  }
  return all.default ?? Object.values(all)[0]
}
