// Which tokens the functions accept. The project's auth is a server that only publishes a list of keys.
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'npm:jose@6.2.17'
import { Refusal } from '../_shared/refusal.ts'
import { readSettings } from '../_shared/settings.ts'
import { Tokens } from '../_shared/token.ts'
import { assert, assertEquals } from './support.ts'

/** A key of the project's auth. */
async function newKey(kid: string) {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const sign = (claims: Record<string, unknown>, header: Record<string, unknown> = {}) =>
    new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid, ...header }).sign(privateKey)
  return { sign, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256' } as JWK, full: await exportJWK(privateKey) }
}

/** Serves `keys`, and counts the requests. */
function auth() {
  const state = { keys: [] as JWK[], fetched: 0, answer: null as Response | null }
  const server = Deno.serve({ hostname: '127.0.0.1', port: 0, onListen: () => {} }, (request) => {
    assertEquals(new URL(request.url).pathname, '/auth/v1/.well-known/jwks.json')
    state.fetched++
    return state.answer?.clone() ?? Response.json({ keys: state.keys })
  })
  const settings = (more: Record<string, string>) => {
    const all: Record<string, string> = {
      SUPABASE_URL: `http://127.0.0.1:${server.addr.port}`,
      SUPABASE_ANON_KEY: 'anon',
      SUPABASE_SERVICE_ROLE_KEY: 'service',
      ...more,
    }
    return readSettings((name) => all[name])
  }
  return { state, settings, stop: () => server.shutdown() }
}

/** Twenty verifications have to fit into it, on a busy machine too. */
const COOLDOWN_MS = 2_000
const SECRET = { PREVIEW_JWT_SECRET: 'the secret of these tests' }

function person(more: Record<string, unknown> = {}): Record<string, unknown> {
  const exp = Math.floor(Date.now() / 1000) + 60
  return { role: 'authenticated', aud: 'authenticated', sub: '99999999-9999-4999-8999-999999999999', exp, ...more }
}

/** The status of a refusal; 200 where there is none. */
async function status(asked: Promise<unknown>): Promise<number> {
  try {
    await asked
    return 200
  } catch (error) {
    if (error instanceof Refusal) return error.status
    throw error
  }
}

Deno.test("the keys of the project's auth are fetched once, again for a new key, and not for every unknown one", async () => {
  const { state, settings, stop } = auth()
  try {
    const [first, second, unknown] = [await newKey('first'), await newKey('second'), await newKey('unknown')]
    state.keys = [first.jwk]
    const tokens = new Tokens(settings(SECRET), COOLDOWN_MS)
    for (let asked = 0; asked < 20; asked++) assertEquals(await status(tokens.person(await first.sign(person()))), 200)
    assertEquals(state.fetched, 1, 'kept')

    await new Promise((done) => setTimeout(done, COOLDOWN_MS + 50))
    state.keys = [second.jwk, first.jwk]
    assertEquals(await status(tokens.person(await second.sign(person()))), 200, 'a new key is fetched')
    assertEquals(state.fetched, 2)
    assertEquals(await status(tokens.person(await first.sign(person()))), 200, 'the older one still holds')

    await new Promise((done) => setTimeout(done, COOLDOWN_MS + 50))
    for (let asked = 0; asked < 20; asked++) {
      assertEquals(await status(tokens.person(await unknown.sign(person()))), 401)
    }
    assertEquals(state.fetched, 3, 'one fetch for twenty unknown kids')

    const young = new Tokens(settings(SECRET), 0, 100)
    assertEquals(await status(young.person(await first.sign(person()))), 200)
    state.keys = [second.jwk]
    await new Promise((done) => setTimeout(done, 150))
    assertEquals(await status(young.person(await first.sign(person()))), 401, 'revoked')
  } finally {
    await stop()
  }
})

Deno.test('a token is accepted only with its own algorithm, key and purpose', async () => {
  const { state, settings, stop } = auth()
  try {
    const [theirs, own, other] = [await newKey('theirs'), await newKey('own'), await newKey('theirs')]
    state.keys = [theirs.jwk]
    const key = JSON.stringify({ ...own.full, kid: 'own', alg: 'ES256' })
    const secret = SECRET.PREVIEW_JWT_SECRET
    const hs256 = (claims: Record<string, unknown>, secret: string, header: Record<string, unknown> = {}) =>
      new SignJWT(claims).setProtectedHeader({ alg: 'HS256', ...header }).sign(new TextEncoder().encode(secret))
    const agent = { role: 'preview_agent', project_id: 'p', session_id: 's', exp: person().exp }
    const none = (claims: unknown) =>
      `${[{ alg: 'none' }, claims].map((part) => btoa(JSON.stringify(part))).join('.')}.`
    for (const both of [{ PREVIEW_JWT_KEY: key }, { PREVIEW_JWT_KEY: key, ...SECRET }]) {
      const tokens = new Tokens(settings(both), 0)
      const legacy = 'PREVIEW_JWT_SECRET' in both ? 200 : 401
      const people: [string, string, number][] = [
        ['their key', await theirs.sign(person()), 200],
        ['several audiences', await theirs.sign(person({ aud: ['x', 'authenticated'] })), 200],
        ['the legacy secret', await hs256(person(), secret), legacy],
        ["another's key under their kid", await other.sign(person()), 401],
        ['the public key as a secret', await hs256(person(), JSON.stringify(theirs.jwk), { kid: 'theirs' }), 401],
        ['its coordinate as a secret', await hs256(person(), theirs.jwk.x!, { kid: 'theirs' }), 401],
        ['another secret', await hs256(person(), 'another secret'), 401],
        ['no algorithm', none(person()), 401],
        ['expired', await theirs.sign(person({ exp: Math.floor(Date.now() / 1000) - 60 })), 401],
        ['without an end', await theirs.sign({ ...person(), exp: undefined }), 401],
        ['another audience', await theirs.sign(person({ aud: 'storage' })), 401],
        ['another role', await theirs.sign(person({ role: 'anon' })), 401],
        ['no person', await theirs.sign(person({ sub: undefined })), 401],
        ["an agent's", await own.sign(agent), 401],
        ['cut off', (await theirs.sign(person())).slice(0, -2), 401],
        ['no token at all', 'x', 401],
      ]
      for (const [what, token, wanted] of people) assertEquals(await status(tokens.person(token)), wanted, what)
      const hour = 3600
      const now = Math.floor(Date.now() / 1000)
      const agents: [string, string, number][] = [
        ['our key', await own.sign(agent), 200],
        ['our key, a day ago', await own.sign({ ...agent, exp: (agent.exp as number) - 23 * hour }), 200],
        ['our key, longer ago', await own.sign({ ...agent, exp: (agent.exp as number) - 25 * hour }), 401],
        ['our kid by another key', await other.sign(agent, { kid: 'own' }), 401],
        ['our kid by HS256', await hs256(agent, own.jwk.x!, { kid: 'own' }), 401],
        ['the legacy secret', await hs256(agent, secret), legacy],
        ["agent claims signed with a key of the project's auth", await theirs.sign(agent), 401],
        ['valid only in a minute', await own.sign({ ...agent, nbf: now + 60 }), 401],
        ['valid only in 23 hours', await own.sign({ ...agent, nbf: now + 23 * hour }), 401],
        ['valid since a minute', await own.sign({ ...agent, nbf: now - 60 }), 200],
        ["a person's", await theirs.sign(person()), 401],
        ['no algorithm', none(agent), 401],
        ['of no session', await own.sign({ ...agent, session_id: undefined }), 401],
      ]
      for (const [what, token, wanted] of agents) assertEquals(await status(tokens.agent(token)), wanted, what)
    }
    const minted = await new Tokens(settings({ PREVIEW_JWT_KEY: key }), 0).mint({ projectId: 'p', sessionId: 's' })
    assertEquals(JSON.parse(atob(minted.token.split('.')[0]!)), { alg: 'ES256', typ: 'JWT', kid: 'own' })
  } finally {
    await stop()
  }
})

Deno.test('keys that cannot be read are 503, not a refusal of the token', async () => {
  const { state, settings, stop } = auth()
  const key = await newKey('theirs')
  const tokens = new Tokens(settings(SECRET), 0)
  try {
    for (const answer of [new Response(null, { status: 500 }), new Response('<html>'), Response.json({ keys: 1 })]) {
      state.answer = answer
      assertEquals(await status(tokens.person(await key.sign(person()))), 503)
    }
    state.answer = null
    state.keys = [key.jwk]
    assertEquals(await status(tokens.person(await key.sign(person()))), 200, 'then it is accepted')
  } finally {
    await stop()
  }
  assertEquals(await status(new Tokens(settings(SECRET)).person(await key.sign(person()))), 503, 'no answer')
})

Deno.test('a key that cannot sign is refused at the start with the name of its setting, without its text', async () => {
  const { settings, stop } = auth()
  await stop()
  const { full } = await newKey('own')
  const wrong = [
    { ...full, kid: undefined },
    { ...full, kid: 'own', d: undefined },
    { ...full, kid: 'own', x: undefined },
    { kty: 'oct', k: 'x', kid: 'own' },
    null,
  ].map((key) => JSON.stringify(key))
  for (const key of [...wrong, `${full.d} is not JSON`]) {
    let message = 'nothing'
    try {
      settings({ PREVIEW_JWT_KEY: key })
    } catch (error) {
      message = String(error)
    }
    assert(message.includes('PREVIEW_JWT_KEY'), message)
    assert(!message.includes(full.d!.slice(0, 6)), 'the key is quoted')
  }
})
