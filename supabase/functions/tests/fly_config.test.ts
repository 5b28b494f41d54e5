import { flyConfig, readFlyOptions } from '../_shared/fly_config.ts'
import { FlyDouble } from './fly_double.ts'
import { problemsOfCreate } from './fly_shapes.ts'
import { assert, assertEquals } from './support.ts'

const given: Record<string, string> = {
  SUPABASE_URL: 'https://abc.supabase.co',
  FLY_APP: 'previews',
  FLY_API_TOKEN: 't',
  FLY_IMAGE: 'registry.fly.io/previews:latest',
  FLY_PREVIEW_URL: 'https://{machine}.previews.example/',
}
const read = (more: Record<string, string>) => {
  const all: Record<string, string> = { ...given, ...more }
  return readFlyOptions((name) => all[name])
}
const config = flyConfig(read({}), { sessionId: 's-1', env: { SESSION_ID: 's-1' } })

Deno.test('Fly accepts the configuration, and refuses it with a mistake', () => {
  assertEquals(problemsOfCreate({ name: 'preview-1', region: 'fra', config }), [])
  const mistakes: [string, Record<string, unknown>][] = [
    ['missing image', { image: undefined }],
    ['an unknown field', { kill_signal: 'SIGTERM' }],
    ['an environment value that is not a string', { env: { PORT: 3001 } }],
    ["a restart policy of fly.toml's", { restart: { policy: 'on-fail' } }],
    ['retries as fly.toml calls them', { restart: { policy: 'on-failure', retries: 10 } }],
    ['an odd size', { guest: { cpu_kind: 'shared', cpus: 2, memory_mb: 300 } }],
    ['a timeout without a unit', { stop_config: { signal: 'SIGTERM', timeout: '5' } }],
    ['a check without a port', { checks: { agent: { type: 'http' } } }],
  ]
  for (const [what, mistake] of mistakes) {
    const body = JSON.parse(JSON.stringify({ config: { ...config, ...mistake } }))
    assert(problemsOfCreate(body).length > 0, `accepted: ${what}`)
  }
})

Deno.test('settings that Fly would refuse are refused at the start, with their name', () => {
  const wrong: [string, string][] = [
    ['FLY_CPUS', '3'],
    ['FLY_MEMORY_MB', '1000'],
    ['FLY_MEMORY_MB', '8192'],
    ['FLY_AUTOSTOP', 'true'],
    ['FLY_PREVIEW_URL', 'https://previews.example/'],
    ['FLY_PREVIEW_URL', '{machine}'],
    ['FLY_PREVIEW_URL', ''],
    ['FLY_PREVIEW_URL', 'https://{machine}/'],
    ['FLY_IMAGE', ''],
  ]
  for (const [name, value] of wrong) {
    let message = ''
    try {
      read({ [name]: value })
    } catch (error) {
      message = String(error)
    }
    assert(message.includes(name), `${name}=${value}: ${message || 'accepted'}`)
  }
})

Deno.test('the agent accepts the host names of FLY_PREVIEW_URL only', () => {
  const hosts: [string, string][] = [
    ['https://{machine}.previews.example/', '.previews.example'],
    ['https://{machine}-{app}.previews.example:8443/x', '.previews.example'],
    ['https://{machine}.{app}.example/', '.previews.example'],
    ['https://previews.example/{machine}/', 'previews.example'],
  ]
  for (const [url, wanted] of hosts) {
    const options = read({ FLY_PREVIEW_URL: url })
    assertEquals(options.previewHosts, wanted, url)
    const { env } = flyConfig(options, { sessionId: 's-1', env: { SESSION_ID: 's-1' } }) as { env: unknown }
    assertEquals(env, { SESSION_ID: 's-1', PREVIEW_HOSTS: wanted })
  }
})

Deno.test("the service is checked at the agent's health address, not at the preview", () => {
  const { services, checks } = config as { services: { checks: unknown[] }[]; checks: { agent: unknown } }
  const { type, port, path } = checks.agent as Record<string, unknown>
  assertEquals([type, port, path], ['http', 9464, '/healthz'])
  assertEquals(services[0]!.checks, [checks.agent])
})

Deno.test('deploy/fly.toml has the same values as the functions', async () => {
  const text = await Deno.readTextFile('../../deploy/fly.toml')
  const toml = (key: string, from = 0) => new RegExp(`^ *${key} = "?([^"\n]+)"?$`, 'm').exec(text.slice(from))?.[1]
  const sectionAt = (section: string) => text.indexOf(section)
  const {
    services: [service],
    checks: { agent },
    metrics,
    restart,
    stop_config,
    guest,
    // biome-ignore lint/suspicious/noExplicitAny: only compared with the file's values
  } = config as any
  const size = sectionAt('[[vm]]')
  const pairs: [string, unknown, unknown][] = [
    ['signal', toml('kill_signal'), stop_config.signal],
    ['timeout', `${toml('kill_timeout')}s`, stop_config.timeout],
    ['port', toml('internal_port'), service.internal_port],
    ['autostop', toml('auto_stop_machines'), service.autostop],
    ['autostart', toml('auto_start_machines'), service.autostart],
    ['least running', toml('min_machines_running'), service.min_machines_running],
    ['concurrency', toml('type', sectionAt('concurrency]')), service.concurrency.type],
    ['soft limit', toml('soft_limit'), service.concurrency.soft_limit],
    ['hard limit', toml('hard_limit'), service.concurrency.hard_limit],
    ['check', toml('path', sectionAt('[checks')), agent.path],
    ["check's port", toml('port', sectionAt('[checks')), agent.port],
    ["check's interval", toml('interval'), agent.interval],
    ["check's timeout", toml('timeout', sectionAt('[checks')), agent.timeout],
    ["check's grace", toml('grace_period'), agent.grace_period],
    ['metrics', toml('path', sectionAt('[metrics')), metrics.path],
    ["metrics' port", toml('port', sectionAt('[metrics')), metrics.port],
    ['restart', toml('policy'), restart.policy],
    ['retries', toml('retries'), restart.max_retries],
    ['cpus', toml('size', size), `${guest.cpu_kind}-cpu-${guest.cpus}x`],
    ['memory', toml('memory', size), `${guest.memory_mb / 1024}gb`],
  ]
  for (const [what, there, here] of pairs) assertEquals(there, String(here), what)
})

Deno.test('the double behaves like the Machines API', async () => {
  const fly = new FlyDouble()
  fly.stepMs = 40
  const base = `${fly.url}/v1/apps/${fly.app}/machines`
  const token = `Bearer ${fly.environment().FLY_API_TOKEN}`
  const ask = async (method: string, path: string, body?: unknown, authorization = token) => {
    const init = { method, headers: { authorization }, body: body && JSON.stringify(body) } as RequestInit
    const response = await fetch(base + path, init)
    return { status: response.status, body: await response.json() }
  }
  const status = async (method: string, path: string) => (await ask(method, path)).status
  try {
    assertEquals((await ask('GET', '', undefined, 'Bearer other')).status, 401)
    assertEquals((await ask('POST', '', { name: 'one', config: {} })).status, 400)
    const { body: one } = await ask('POST', '', { name: 'one', config })
    assertEquals([one.name, one.state], ['one', 'created'])
    const again = await ask('POST', '', { name: 'one', config })
    assert(again.status === 409 && again.body.error.includes(`machine ID ${one.id} already exists`), again.body.error)
    assertEquals(await status('POST', `/${one.id}/start`), 412, 'started before it is ready')
    assertEquals(await status('GET', `/${one.id}/wait?state=started&timeout=61`), 400)
    assertEquals(await status('GET', `/${one.id}/wait?state=started&timeout=9&instance_id=other`), 400)
    assertEquals(await status('GET', `/${one.id}/wait?state=stopped&timeout=1&instance_id=${one.instance_id}`), 408)
    assertEquals(await status('GET', `/${one.id}/wait?state=started&timeout=9`), 200)
    assertEquals(await status('POST', `/${one.id}/suspend`), 200)
    assertEquals(await status('DELETE', `/${one.id}`), 412, 'destroyed while it runs, without force')
    assertEquals(await status('GET', `/${one.id}/wait?state=suspended&timeout=9`), 200)
    assertEquals((await ask('POST', `/${one.id}/start`)).body.previous_state, 'suspended')
    assertEquals((await ask('GET', '?metadata.session_id=s-1')).body.length, 1)
    assertEquals((await ask('GET', '?metadata.session_id=s-2')).body.length, 0)
    assertEquals(await status('DELETE', `/${one.id}?force=true`), 200)
    assertEquals((await ask('GET', `/${one.id}`)).body.state, 'destroying')
    assertEquals(await status('GET', `/${one.id}/wait?state=destroyed&timeout=9`), 200)
    assertEquals(await status('DELETE', `/${one.id}?force=true`), 404)
    assertEquals(await status('GET', '/d0000000000099'), 404)
    fly.rate = 1
    const burst = await Promise.all([1, 2, 3, 4, 5].map(() => status('POST', `/${one.id}/start`)))
    assert(burst.filter((one) => one === 429).length >= 1, `five at once: ${burst}`)
  } finally {
    await fly.stop()
  }
})
