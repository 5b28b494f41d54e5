import { PATIENCE, type Patience } from './ask.ts'
import { Secret } from './secret.ts'

/** Reads one variable; the tests give their own. */
export type Environment = (name: string) => string | undefined

/** What the functions are told by their environment. The names of secrets may not begin with `SUPABASE_` on hosted. */
export interface Settings {
  supabaseUrl: string
  /** The public key; the only key that a machine is given. */
  anonKey: string
  serviceKey: Secret
  /** Base of the functions themselves, as machines reach them. */
  functionsUrl: string
  /** The imported ES256 key as a private JWK with its `kid`, where tokens are signed with one. */
  signingKey: Secret | null
  /** The legacy HS256 secret, where the project still has it: it verifies people's tokens, and signs where there is no key. */
  legacySecret: Secret | null
  /** Seconds that an agent's token is valid. */
  tokenSeconds: number
  /** Seconds that a snapshot's URL is valid. */
  snapshotUrlSeconds: number
  /** A session that nobody used for so many seconds is ended by the sweep. */
  idleSeconds: number
  patience: Patience
  environment: Environment
}

/** Settings from the environment. Throws, naming the variable, where one is missing or no number in its bounds. */
export function readSettings(environment: Environment, patience = PATIENCE): Settings {
  const supabaseUrl = required(environment, 'SUPABASE_URL').replace(/\/+$/, '')
  const signingKey = signingKeyOf(environment('PREVIEW_JWT_KEY'))
  const legacySecret = environment('PREVIEW_JWT_SECRET')
  if (!signingKey && !legacySecret) throw new Error('PREVIEW_JWT_KEY or PREVIEW_JWT_SECRET must be set')
  return {
    supabaseUrl,
    anonKey: named(environment('SUPABASE_PUBLISHABLE_KEYS')) ?? required(environment, 'SUPABASE_ANON_KEY'),
    serviceKey: new Secret(
      named(environment('SUPABASE_SECRET_KEYS')) ?? required(environment, 'SUPABASE_SERVICE_ROLE_KEY'),
    ),
    functionsUrl: (environment('FUNCTIONS_URL') || `${supabaseUrl}/functions/v1`).replace(/\/+$/, ''),
    signingKey,
    legacySecret: legacySecret ? new Secret(legacySecret) : null,
    tokenSeconds: whole(environment, 'PREVIEW_TOKEN_SECONDS', 3600, 5, 86_400),
    snapshotUrlSeconds: whole(environment, 'PREVIEW_SNAPSHOT_URL_SECONDS', 600, 5, 86_400),
    idleSeconds: whole(environment, 'PREVIEW_IDLE_SECONDS', 1800, 1, 7 * 86_400),
    patience,
    environment,
  }
}

/** The variable's value; throws where it is not set. */
export function required(environment: Environment, name: string): string {
  const value = environment(name)
  if (!value) throw new Error(`${name} must be set`)
  return value
}

/** A whole number within bounds, or the default. */
export function whole(environment: Environment, name: string, byDefault: number, least: number, most: number): number {
  const text = environment(name)
  if (!text) return byDefault
  const value = Number(text)
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new Error(`${name} must be a whole number from ${least} to ${most}`)
  }
  return value
}

/** Said of what is wrong alone: a parser's own message would quote the key. */
function signingKeyOf(text: string | undefined): Secret | null {
  if (!text) return null
  let key: Record<string, unknown> | null
  try {
    key = JSON.parse(text)
  } catch {
    throw new Error('PREVIEW_JWT_KEY is no JSON: it must be a private ES256 JWK with a kid')
  }
  const parts = [key?.kid, key?.d, key?.x, key?.y]
  const isWhole = parts.every((part) => typeof part === 'string' && part !== '')
  if (key?.kty !== 'EC' || key.crv !== 'P-256' || !isWhole) {
    throw new Error('PREVIEW_JWT_KEY must be a private ES256 JWK with a kid')
  }
  return new Secret(text)
}

/** Hosted gives the newer keys as one JSON object, name to key: the one called `default`, else the first. */
function named(keys: string | undefined): string | undefined {
  if (!keys) return undefined
  let all: Record<string, string>
  try {
    all = JSON.parse(keys)
  } catch {
    throw new Error('SUPABASE_SECRET_KEYS and SUPABASE_PUBLISHABLE_KEYS hold JSON objects')
  }
  return all.default ?? Object.values(all)[0]
}
