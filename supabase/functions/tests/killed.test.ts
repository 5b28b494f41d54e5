import { inWorld, later, PATIENT, person, project, sessionsOf, World } from './fly_support.ts'
import { assertEquals, eventually } from './support.ts'

/** Where the function is when it is killed. What hangs there happens all the same, later. */
const STEPS: ['gateway' | 'fly', string][] = [
  ['gateway', 'rpc project_head'],
  ['gateway', 'storage sign'],
  ['fly', 'create'],
  ['fly', 'wait'],
  ['gateway', 'rpc preview_session_started'],
]

/** The functions in a process of their own, as they are deployed. */
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
  let said = ''
  while (!said.includes('\n')) {
    const { value, done } = await reader.read()
    if (done) throw new Error('the functions ended at once')
    said += value
  }
  const kill = async () => {
    process.kill('SIGKILL')
    await process.status
    await reader.cancel()
    await process.stdin.close().catch(() => {})
  }
  return { url: `http://127.0.0.1:${said.trim().split(' ')[1]}/functions/v1`, kill }
}

async function killedAt(world: World, at: 'gateway' | 'fly', operation: string, token: string): Promise<void> {
  const gateway = await startGateway(world)
  const faults = world[at].faults
  const asked = faults.asked.get(operation) ?? 0
  faults.fail(operation, 'late')
  const opened = fetch(`${gateway.url}/preview-session`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ project_id: project }),
  }).then(
    () => true,
    () => false,
  )
  await eventually(operation, () => Promise.resolve((faults.asked.get(operation) ?? 0) > asked))
  await gateway.kill()
  assertEquals(await opened, false, 'it was killed before it answered')
  await world.mend()
}

Deno.test('a function that is killed in the middle leaves what the next call takes over, or the sweep removes', () =>
  inWorld(async (calm) => {
    for (const next of ['asked again', 'swept']) {
      const left = await Promise.all(
        STEPS.map(async ([at, operation]) => {
          const who = await person()
          const world = new World(PATIENT, {}, calm)
          await killedAt(world, at, operation, who.token)
          await world.stop()
          const [session] = await sessionsOf(who.id)
          // Where its last call went through all the same, only nobody was told.
          if (session.state === 'running') assertEquals(operation, 'rpc preview_session_started')
          return { who, session, what: `killed at ${operation}, ${next}` }
        }),
      )
      for (const { who, session, what } of left) {
        const early = await calm.open(who.token)
        const wanted = session.state === 'running' ? [200, 'running'] : [202, 'starting']
        assertEquals([early.status, early.body.state], wanted, `${what}: while its lease is good`)
        await later(session.id, next === 'swept' ? 241 : 121)
      }
      if (next === 'swept') {
        const { body } = await calm.sweep()
        const starting = left.filter(({ session }) => session.state === 'starting').length
        assertEquals([body.ended, body.left], [starting, 0])
      }
      for (const { who, session, what } of left) {
        const { status, body } = await calm.open(who.token)
        assertEquals([status, body.state], [200, 'running'], `${what}: asked again`)
        const isNew = next === 'swept' && session.state === 'starting'
        assertEquals(body.session_id !== session.id, isNew, `${what}: whether it is a new one`)
        assertEquals(calm.fly.alive([session.id, body.session_id]).length, 1, `${what}: one machine`)
        await calm.end(who.token, body.session_id)
      }
      assertEquals(calm.fly.alive(), [], 'in the end')
    }
  }))
