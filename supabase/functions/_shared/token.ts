import type { JWK, JWTPayload, JWTVerifyOptions } from 'npm:jose@6.2.17'
import { createRemoteJWKSet, decodeProtectedHeader, errors, importJWK, jwtVerify, SignJWT } from 'npm:jose@6.2.17'
import { hex } from './digest.ts'
import { Refusal, unauthenticated } from './refusal.ts'
import type { Settings } from './settings.ts'

/** How long after its expiry an agent's token of a live session can be renewed (contract, section 6), in seconds. */
const RENEWAL_GRACE = 24 * 3600
/** How far the clocks of the signing and the verifying server may differ, in seconds. */
const CLOCK_SKEW = 5
/** After an unknown `kid` the keys are fetched again at most this often, in milliseconds, so that invented kids cause no load. */
const KEYS_COOLDOWN_MS = 5_000
/** How long fetched keys are used, in milliseconds: a revoked key is refused after that. */
const KEYS_MAX_AGE_MS = 600_000

/** Errors of fetching the keys, which say nothing about the token. */
const KEY_FETCH_ERRORS = new Set(['ERR_JWKS_TIMEOUT', 'ERR_JWKS_INVALID', 'ERR_JOSE_GENERIC'])

/** A signed-in person. */
export interface Person {
  id: string
  /** The token itself, for calls to the database as this person. */
  token: string
}

/** The scope of an agent's token. */
export interface AgentScope {
  projectId: string
  sessionId: string
}

/** Makes and verifies tokens: agents' tokens with the service's own key, people's with the keys of the project's auth. */
export class Tokens {
  readonly #settings: Settings
  readonly #projectKeys: ReturnType<typeof createRemoteJWKSet>

  constructor(settings: Settings, cooldown = KEYS_COOLDOWN_MS, maxAge = KEYS_MAX_AGE_MS) {
    this.#settings = settings
    this.#projectKeys = createRemoteJWKSet(new URL(`${settings.supabaseUrl}/auth/v1/.well-known/jwks.json`), {
      timeoutDuration: 5_000,
      cooldownDuration: cooldown,
      cacheMaxAge: maxAge,
    })
  }

  /** Makes a token of role `preview_agent` for one project and session. */
  async mint(scope: AgentScope): Promise<{ token: string; expiresAt: string }> {
    const now = Math.floor(Date.now() / 1000)
    const exp = now + this.#settings.tokenSeconds
    const claims = { role: 'preview_agent', project_id: scope.projectId, session_id: scope.sessionId }
    const jwt = new SignJWT(claims).setIssuedAt(now).setExpirationTime(exp)
    const key = this.#signingJwk()
    const token = key
      ? // Realtime refuses a token of an imported key without `kid`.
        await jwt.setProtectedHeader({ alg: 'ES256', typ: 'JWT', kid: key.kid }).sign(await importJWK(key, 'ES256'))
      : await jwt.setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).sign(this.#legacySecret())
    return { token, expiresAt: new Date(exp * 1000).toISOString() }
  }

  /**
   * The token that opens a session's preview (contract, section 10): the same for the session's whole life, so that it fits a
   * machine that was started earlier. It is an HMAC of the session's id under the key that signs agents' tokens.
   */
  async previewAccess(sessionId: string): Promise<string> {
    const { signingKey, legacySecret } = this.#settings
    const secret = new TextEncoder().encode((signingKey ?? legacySecret)!.reveal())
    const key = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
    const text = new TextEncoder().encode(`preview access of session ${sessionId}`)
    return hex(new Uint8Array(await crypto.subtle.sign('HMAC', key, text)))
  }

  /**
   * The person of a token. Refused (401): missing, forged, expired, an agent's, without `sub`, or for another audience. The
   * issuer is not compared: functions and people reach the project by different addresses, and the key identifies the signer.
   */
  async person(token: string | null): Promise<Person> {
    const claims = await this.#explained(() => this.#verifyPerson(token))
    const audience = claims.aud === undefined || [claims.aud].flat().includes('authenticated')
    if (claims.role !== 'authenticated' || typeof claims.sub !== 'string' || !audience) {
      throw unauthenticated("a signed-in person's token is needed")
    }
    return { id: claims.sub, token: token! }
  }

  /**
   * The scope of an agent's token, which may have expired up to 24 hours ago. Refused (401): missing, forged, expired earlier,
   * not valid yet, not an agent's, or signed with a key of the project's auth: those keys sign what people's tokens contain.
   */
  async agent(token: string | null): Promise<AgentScope> {
    const claims = await this.#explained(() => this.#verifyAgent(token))
    const { role, project_id: projectId, session_id: sessionId } = claims
    if (role !== 'preview_agent' || typeof projectId !== 'string' || typeof sessionId !== 'string') {
      throw unauthenticated("an agent's token is needed")
    }
    return { projectId, sessionId }
  }

  async #verifyPerson(token: string | null): Promise<JWTPayload> {
    const options = { clockTolerance: CLOCK_SKEW, requiredClaims: ['exp'] }
    const own = await this.#verifyWithOwnKey(token, options)
    if (own) return own
    const algorithms = ['ES256', 'RS256', 'EdDSA']
    return (await jwtVerify(token!, this.#projectKeys, { ...options, algorithms })).payload
  }

  async #verifyAgent(token: string | null): Promise<JWTPayload> {
    const options = { clockTolerance: RENEWAL_GRACE, requiredClaims: ['exp'] }
    const claims = await this.#verifyWithOwnKey(token, options)
    if (!claims) throw unauthenticated("the token is not signed with the service's key")
    // The tolerance is for the expiry only.
    if (claims.nbf !== undefined && claims.nbf > Date.now() / 1000) throw unauthenticated('the token is not valid yet')
    return claims
  }

  /** Verifies with the service's own keys: the signing key, or the legacy secret. Null where another key has signed. */
  async #verifyWithOwnKey(token: string | null, options: JWTVerifyOptions): Promise<JWTPayload | null> {
    if (!token) throw unauthenticated('no token')
    const header = decodeProtectedHeader(token)
    if (header.alg === 'HS256') {
      return (await jwtVerify(token, this.#legacySecret(), { ...options, algorithms: ['HS256'] })).payload
    }
    const own = this.#signingJwk()
    if (!own || header.kid !== own.kid) return null
    const { kty, crv, x, y } = own
    const key = await importJWK({ kty, crv, x, y } as JWK, 'ES256')
    return (await jwtVerify(token, key, { ...options, algorithms: ['ES256'] })).payload
  }

  /** Turns what verifying throws into a refusal: 401 for the token, 503 where the keys cannot be read. */
  async #explained(verify: () => Promise<JWTPayload>): Promise<JWTPayload> {
    try {
      return await verify()
    } catch (error) {
      if (error instanceof Refusal) throw error
      if (error instanceof errors.JWTExpired) throw unauthenticated('the token has expired')
      if (error instanceof errors.JOSEError && !KEY_FETCH_ERRORS.has(error.code)) {
        throw unauthenticated('the token is not valid')
      }
      if (error instanceof TypeError && error.message.includes('Token')) {
        throw unauthenticated('the token is not valid')
      }
      throw new Refusal(503, 'unavailable', 'the keys that verify tokens cannot be read', undefined, { cause: error })
    }
  }

  #signingJwk(): (JWK & { kid: string }) | null {
    const text = this.#settings.signingKey?.reveal()
    return text ? JSON.parse(text) : null
  }

  #legacySecret(): Uint8Array {
    const secret = this.#settings.legacySecret
    if (!secret) throw unauthenticated('tokens signed with HS256 are not accepted here')
    return new TextEncoder().encode(secret.reveal())
  }
}
