import { inWorld, passTime, person, project, SLOW_RETRY, sessionsOf, World } from './fly_support.ts'
import { assertEquals, eventually } from './support.ts'

/** The step at which the function is killed. The step itself still takes effect later. */
const STEPS: ['gateway' | 'fly', string][] = [
  ['gateway', 'rpc project_head'],
  ['gateway', 'storage sign'],
  ['fly', 'create'],
  ['fly', 'wait'],
  ['gateway', 'rpc preview_session_started'],
]

/** Starts the functions in a separate process, as they are deployed. */
async function startGateway(world: World): Promise<{ url: string; kill: () => Promise<void> }> {
  const env = { ...world.environment(), FUNCTIONS_URL: '', NO_COLOR: '1' }
  const process = new Deno.Command(Deno.execPath(), {
    args: ['run', '--allow-all', 'tests/gateway.ts'],
    env,
    stdin: 'piped',
    stdout: 'piped',
    stderr: 'inherit',
  }).spawn()
  const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader()
  let output = ''
  while (!output.includes('\n')) {
    const { value, done } = await reader.read()
    if (done) throw new Error('the functions ended during their start')
    output += value
  }
  const kill = async () => {
    process.kill('SIGKILL')
    await process.status
    await reader.cancel()
    await process.stdin.close().catch(() => {})
  }
  return { url: `http://127.0.0.1:${output.trim().split(' ')[1]}/functions/v1`, kill }
}

async function killedAt(world: World, at: 'gateway' | 'fly', operation: string, token: string): Promise<void> {
  const gateway = await startGateway(world)
  const faults = world[at].faults
  const asked = faults.calls.get(operation) ?? 0
  faults.fail(operation, 'late')
  const opened = fetch(`${gateway.url}/preview-session`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ project_id: project }),
  }).then(
    () => true,
    () => false,
  )
  await eventually(operation, () => Promise.resolve((faults.calls.get(operation) ?? 0) > asked))
  await gateway.kill()
  assertEquals(await opened, false, 'killed before its answer')
  await world.clear()
}

Deno.test('the next call takes over from a function that was killed, or the sweep removes what it made', () =>
  inWorld(async (faultless) => {
    for (const next of ['called again', 'swept']) {
      const left = await Promise.all(
        STEPS.map(async ([at, operation]) => {
          const who = await person()
          const world = new World(SLOW_RETRY, {}, faultless)
          await killedAt(world, at, operation, who.token)
          await world.stop()
          const [session] = await sessionsOf(who.id)
          // Its last call may still have taken effect.
          if (session.state === 'running') assertEquals(operation, 'rpc preview_session_started')
          return { who, session, what: `killed at ${operation}, ${next}` }
        }),
      )
      for (const { who, session, what } of left) {
        const early = await faultless.open(who.token)
        const wanted = session.state === 'running' ? [200, 'running'] : [202, 'starting']
        assertEquals([early.status, early.body.state], wanted, `${what}: during its lease`)
        await passTime(session.id, next === 'swept' ? 241 : 121)
      }
      if (next === 'swept') {
        const { body } = await faultless.sweep()
        const starting = left.filter(({ session }) => session.state === 'starting').length
        assertEquals([body.ended, body.left], [starting, 0])
      }
      for (const { who, session, what } of left) {
        const { status, body } = await faultless.open(who.token)
        assertEquals([status, body.state], [200, 'running'], `${what}: next call`)
        const isNew = next === 'swept' && session.state === 'starting'
        assertEquals(body.session_id !== session.id, isNew, `${what}: whether it is a new session`)
        assertEquals(faultless.fly.alive([session.id, body.session_id]).length, 1, `${what}: one machine`)
        await faultless.end(who.token, body.session_id)
      }
      assertEquals(faultless.fly.alive(), [], 'at the end')
    }
  }))
