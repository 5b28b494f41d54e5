import type { JWK, JWTPayload } from 'npm:jose@6.2.17'
import { createRemoteJWKSet, decodeProtectedHeader, errors, importJWK, jwtVerify, SignJWT } from 'npm:jose@6.2.17'
import { Refusal, unauthenticated } from './refusal.ts'
import type { Settings } from './settings.ts'

/** How long after its end a token of a live session still renews (contract, section 6), in seconds. */
const GRACE = 24 * 3600
/** Who verifies may be a moment behind who signed, in seconds. */
const CLOCK_SKEW = 5
/** An unknown `kid` has the keys fetched again, so often at most, in milliseconds: whoever makes kids up is not to be heard of. */
const KEYS_COOLDOWN_MS = 5_000
/** How long fetched keys are believed, in milliseconds: a key that was revoked is refused after that. */
const KEYS_MAX_AGE_MS = 600_000

/** Says of the place where keys are read, not of a token: no answer in time, none that is a set of keys. */
const KEYS_UNREAD = new Set(['ERR_JWKS_TIMEOUT', 'ERR_JWKS_INVALID', 'ERR_JOSE_GENERIC'])

/** A signed-in person. */
export interface Person {
  id: string
  /** The token itself, to ask the database as that person. */
  token: string
}

/** The scope of an agent's token. */
export interface AgentScope {
  projectId: string
  sessionId: string
}

/** Mints and verifies: agents' tokens with our own key, people's tokens with the project's. */
export class Tokens {
  readonly #settings: Settings
  readonly #peoplesKeys: ReturnType<typeof createRemoteJWKSet>

  constructor(settings: Settings, cooldown = KEYS_COOLDOWN_MS, maxAge = KEYS_MAX_AGE_MS) {
    this.#settings = settings
    this.#peoplesKeys = createRemoteJWKSet(new URL(`${settings.supabaseUrl}/auth/v1/.well-known/jwks.json`), {
      timeoutDuration: 5_000,
      cooldownDuration: cooldown,
      cacheMaxAge: maxAge,
    })
  }

  /** A token of role `preview_agent` for one project and session, and when it ends. */
  async mint(scope: AgentScope): Promise<{ token: string; expiresAt: string }> {
    const now = Math.floor(Date.now() / 1000)
    const exp = now + this.#settings.tokenSeconds
    const claims = { role: 'preview_agent', project_id: scope.projectId, session_id: scope.sessionId }
    const jwt = new SignJWT(claims).setIssuedAt(now).setExpirationTime(exp)
    const key = this.#signingJwk()
    const token = key
      ? // The real server refuses an imported key's token without `kid`.
        await jwt.setProtectedHeader({ alg: 'ES256', typ: 'JWT', kid: key.kid }).sign(await importJWK(key, 'ES256'))
      : await jwt.setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).sign(this.#legacySecret())
    return { token, expiresAt: new Date(exp * 1000).toISOString() }
  }

  /**
   * Whose token a person's is. Refused (401): none, forged, expired, an agent's, one of no person or for another audience.
   * The issuer is not compared: functions know the project by another address than people do, and the key says who signed.
   */
  async person(token: string | null): Promise<Person> {
    const claims = await this.#verify(token, CLOCK_SKEW)
    const audience = claims.aud === undefined || [claims.aud].flat().includes('authenticated')
    if (claims.role !== 'authenticated' || typeof claims.sub !== 'string' || !audience) {
      throw unauthenticated("a signed-in person's token is needed")
    }
    return { id: claims.sub, token: token! }
  }

  /** The scope of an agent's token, which may have expired up to 24 hours ago. Refused (401): none, forged, too old, no agent's. */
  async agent(token: string | null): Promise<AgentScope> {
    const claims = await this.#verify(token, GRACE)
    const { role, project_id: projectId, session_id: sessionId } = claims
    if (role !== 'preview_agent' || typeof projectId !== 'string' || typeof sessionId !== 'string') {
      throw unauthenticated("an agent's token is needed")
    }
    return { projectId, sessionId }
  }

  async #verify(token: string | null, tolerance: number): Promise<JWTPayload> {
    if (!token) throw unauthenticated('no token')
    const options = { clockTolerance: tolerance, requiredClaims: ['exp'] }
    try {
      const header = decodeProtectedHeader(token)
      if (header.alg === 'HS256') {
        return (await jwtVerify(token, this.#legacySecret(), { ...options, algorithms: ['HS256'] })).payload
      }
      const own = this.#signingJwk()
      if (own && header.kid === own.kid) {
        const { kty, crv, x, y } = own
        const key = await importJWK({ kty, crv, x, y } as JWK, 'ES256')
        return (await jwtVerify(token, key, { ...options, algorithms: ['ES256'] })).payload
      }
      return (await jwtVerify(token, this.#peoplesKeys, { ...options, algorithms: ['ES256', 'RS256', 'EdDSA'] }))
        .payload
    } catch (error) {
      if (error instanceof Refusal) throw error
      if (error instanceof errors.JWTExpired) throw unauthenticated('the token has expired')
      if (error instanceof errors.JOSEError && !KEYS_UNREAD.has(error.code)) {
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
