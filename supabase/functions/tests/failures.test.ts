import type { RetryPolicy } from '../_shared/http.ts'
import { FAULT_KINDS, type FaultKind, type Faults } from './faults.ts'
import {
  FAST_RETRY,
  inWorld,
  type Person,
  passTime,
  person,
  project,
  rows,
  service,
  sessionsOf,
  World,
} from './fly_support.ts'
import { assert, assertEquals, post, rpc, settings } from './support.ts'

/** The steps of a start, in order, and the server of each. */
const STEPS: [keyof Pick<World, 'gateway' | 'fly'>, string][] = [
  ['gateway', 'rpc open_preview_session'],
  ['gateway', 'rpc project_head'],
  ['gateway', 'storage list'],
  ['gateway', 'storage sign'],
  ['fly', 'create'],
  ['fly', 'wait'],
  ['gateway', 'rpc preview_session_started'],
]
/** The steps of a restart of a failed machine. */
const RESTART_STEPS: typeof STEPS = [
  ['fly', 'get'],
  ['fly', 'start'],
  ['gateway', 'rpc restart_preview_session'],
  ['gateway', 'rpc project_head'],
  ['gateway', 'rpc preview_session_started'],
]
const END_STEPS: typeof STEPS = [
  ['gateway', 'rpc end_preview_session'],
  ['fly', 'get'],
  ['fly', 'destroy'],
  ['gateway', 'rpc preview_session_gone'],
]

/** Checks that after the faults and the lease the next call succeeds, and nothing half-made is left. */
async function assertRecovers(world: World, who: Person, what: string): Promise<void> {
  const before = await sessionsOf(who.id)
  // The call that was starting has ended: as if the rest of its lease had passed.
  for (const one of before.filter((one) => one.state === 'starting')) await passTime(one.id, 121)
  const { status, body } = await world.open(who.token)
  assertEquals([status, body.state], [200, 'running'], `${what}, next call: ${JSON.stringify(body)}`)
  assertEquals((await world.sweep()).status, 200, what)
  const after = await sessionsOf(who.id)
  const live = after.filter((one) => !one.ended_at).map((one) => [one.id, one.state])
  assertEquals(live, [[body.session_id, 'running']], `${what}: live sessions`)
  assertEquals(
    after.filter((one) => one.state === 'ending'),
    [],
    `${what}: sessions that have not ended`,
  )
  const machines = world.fly.alive(after.map((one) => one.id)).map((one) => one.config.metadata.session_id)
  assertEquals(machines, [body.session_id], `${what}: machines`)
  assertEquals((await world.end(who.token, body.session_id)).body.state, 'ended', what)
}

/** Prints the result of each step and kind of failure. */
class Table {
  readonly #lines: string[] = []
  readonly #began = performance.now()

  constructor(readonly title: string) {
    this.#lines.push(['step'.padEnd(34), ...FAULT_KINDS.map((kind) => kind.padEnd(16))].join(''))
  }

  add(step: string, cells: string[]): void {
    this.#lines.push([step.padEnd(34), ...cells.map((cell) => cell.padEnd(16))].join(''))
  }

  print(): void {
    const seconds = ((performance.now() - this.#began) / 1000).toFixed(1)
    console.log(`\n${this.title} (${seconds} s)\n${this.#lines.join('\n')}`)
  }
}

/** One failure, tried with its own person: first in a world with the fault, then in one without. */
interface Attempt {
  who: Person
  kind: FaultKind
  what: string
}

/**
 * One line of the table: the step fails in each way at the same time, each in its own world; then the faults end, and each
 * attempt continues. The worlds have the same machines, so that each sweep sees all of them, as a real one does.
 */
async function everyKind(
  step: string,
  retry: RetryPolicy,
  fail: (world: World, tried: Attempt) => Promise<string>,
  goOn: (faultless: World, tried: Attempt) => Promise<void>,
): Promise<string[]> {
  const faultless = new World()
  const tries = await Promise.all(
    FAULT_KINDS.map(async (kind) => ({ kind, who: await person(), what: `${step}, ${kind}` })),
  )
  const worlds = FAULT_KINDS.map(() => new World(retry, {}, faultless))
  try {
    const cells = await Promise.all(tries.map((tried, at) => fail(worlds[at]!, tried)))
    await Promise.all(worlds.map((world) => world.clear()))
    await Promise.all(tries.map((tried) => goOn(faultless, tried)))
    return cells
  } finally {
    for (const world of [...worlds, faultless]) await world.stop()
  }
}

function faultsOf(world: World, at: 'gateway' | 'fly'): Faults {
  return world[at].faults
}

/** Faults after which the effect may still happen: the session is then taken over or swept. */
function mayTakeEffect(kind: FaultKind): boolean {
  return kind === 'late' || kind === 'hang' || kind === 'cut after'
}

/** A cell of the table: the answer's status, the session's state, and its number of machines. */
async function left(world: World, who: Person, status: number): Promise<string> {
  const [session] = await sessionsOf(who.id)
  return `${status} ${session?.state ?? '-'} ${world.fly.alive([session?.id]).length}`
}

for (const times of [1, Infinity]) {
  const title = times === 1 ? 'a step that fails once' : 'a step that always fails'
  Deno.test(`a start succeeds or leaves nothing after ${title}`, async () => {
    const table = new Table(`start, ${title}: answer; session and machines before the next call`)
    for (const [at, operation] of STEPS) {
      const fail = async (world: World, { who, kind, what }: Attempt) => {
        faultsOf(world, at).fail(operation, kind, times)
        const { status, body } = await world.open(who.token)
        assert([200, 202, 503].includes(status), `${what}: ${status} ${JSON.stringify(body)}`)
        // A step that fails once is repeated without an error.
        if (times === 1) assertEquals([status, body.state], [200, 'running'], `${what}: ${JSON.stringify(body)}`)
        const cell = await left(world, who, status)
        if (times > 1 && !mayTakeEffect(kind)) {
          assertEquals(cell, operation.startsWith('rpc open') ? '503 - 0' : '503 ended 0', what)
        }
        return cell
      }
      // Longer timeouts, so that a busy machine does not cause a second failure.
      const retry =
        times === 1 ? { ...FAST_RETRY, attempts: 4, attemptMs: 800, transferMs: 3_000, totalMs: 30_000 } : FAST_RETRY
      table.add(
        operation,
        await everyKind(operation, retry, fail, (faultless, { who, what }) => assertRecovers(faultless, who, what)),
      )
    }
    table.print()
  })
}

Deno.test('a failed machine is replaced, or the session ends, whichever step fails', async () => {
  const table = new Table('restart, a step that always fails')
  for (const [at, operation] of RESTART_STEPS) {
    const fail = async (world: World, { who, kind, what }: Attempt) => {
      const {
        body: { session_id: id },
      } = await world.withoutFaults().open(who.token)
      world.fly.alive([id])[0]!.state = operation === 'start' ? 'suspended' : 'failed'
      faultsOf(world, at).fail(operation, kind)
      const { status } = await world.open(who.token)
      const cell = await left(world, who, status)
      // Reading or starting a machine changes nothing where it fails.
      if (operation === 'get' || operation === 'start') assertEquals(cell, '503 running 1', what)
      if (operation === 'rpc preview_session_started' && !mayTakeEffect(kind)) {
        assertEquals(cell, '503 ended 0', what)
      }
      return cell
    }
    table.add(
      operation,
      await everyKind(operation, FAST_RETRY, fail, (faultless, { who, what }) => assertRecovers(faultless, who, what)),
    )
  }
  table.print()
})

Deno.test('a session that cannot be ended completely is ended by the sweep', async () => {
  const table = new Table('end, a step that always fails: answer, session, machines')
  for (const [at, operation] of END_STEPS) {
    const fail = async (world: World, { who, kind, what }: Attempt) => {
      const {
        body: { session_id: id },
      } = await world.withoutFaults().open(who.token)
      faultsOf(world, at).fail(operation, kind)
      const { status, body } = await world.end(who.token, id)
      if (operation.startsWith('rpc end')) assertEquals(status, 503, what)
      else assertEquals([status, body.state], [202, 'ending'], what)
      return await left(world, who, status)
    }
    const goOn = async (faultless: World, { who, what }: Attempt) => {
      const [session] = await sessionsOf(who.id)
      if (!session.ended_at) assertEquals((await faultless.end(who.token, session.id)).status, 200, what)
      assertEquals((await faultless.sweep()).body.left, 0, what)
      assertEquals([(await sessionsOf(who.id))[0].state, faultless.fly.alive([session.id])], ['ended', []], what)
    }
    table.add(operation, await everyKind(operation, FAST_RETRY, fail, goOn))
  }
  table.print()
})

Deno.test('a sweep that fails is completed by the next one', () =>
  inWorld(async (world) => {
    const who = await person()
    const {
      body: { session_id: id },
    } = await world.withoutFaults().open(who.token)
    await rows('preview_sessions', `id=eq.${id}`, { state: 'ending', ended_at: new Date().toISOString() })
    const steps = [
      ['gateway', 'rpc sweep_preview_sessions'],
      ['fly', 'list'],
      ['fly', 'destroy'],
      ['gateway', 'rpc live_preview_sessions'],
    ] as const
    for (const [at, operation] of steps) {
      faultsOf(world, at).fail(operation, '500')
      const { status, body } = await world.sweep()
      assertEquals(operation === 'destroy' ? body.left : status, operation === 'destroy' ? 1 : 503, operation)
      await world.clear()
    }
    assertEquals((await world.sweep()).body.left, 0)
    assertEquals([(await sessionsOf(who.id))[0].state, world.fly.alive()], ['ended', []])
  }, FAST_RETRY))

const BUILD_STEPS = [
  'rpc list_project_changes',
  'storage authenticated',
  'storage list',
  'storage upload',
  'storage sign',
  'storage remove',
]

Deno.test('a snapshot that cannot be built leaves no partial object, whichever step fails', async () => {
  const table = new Table('build, a step that always fails: answer, new objects, and the next call')
  for (const operation of BUILD_STEPS) {
    // One after the other, since each needs its own state of the project.
    const cells: string[] = []
    for (const kind of FAULT_KINDS) {
      await inWorld(
        async (world) => {
          const content = crypto.randomUUID()
          await rpc('upsert_project_file', { project_uuid: project, p_file_path: 'failing.txt', p_content: content })
          const before = await objects()
          const build = (at = world) => post(`${at.url}/build-project-snapshot`, service, { project_id: project })
          world.gateway.faults.fail(operation, kind)
          const { status } = await build()
          const what = `${operation}, ${kind}`
          const made = (await objects()).filter((one) => !before.includes(one))
          assert(made.length <= 1, `${what}: ${made}`)
          await world.clear()
          const again = await build(world.withoutFaults())
          assertEquals(again.status, 200, `${what}, next call: ${JSON.stringify(again.body)}`)
          const zip = new Uint8Array(await (await fetch(again.body.snapshot_url)).arrayBuffer())
          const [start, end] = [zip.subarray(0, 4), zip.subarray(zip.length - 22, zip.length - 18)]
          assertEquals([...start, ...end], [80, 75, 3, 4, 80, 75, 5, 6], `${what}: a complete zip`)
          const after = (await objects()).filter((one) => !before.includes(one))
          assertEquals(after, [again.body.object], `${what}: one object of this state`)
          cells.push(`${status} ${made.length} ${again.body.built ? 'built' : 'existing'}`)
        },
        { ...FAST_RETRY, attemptMs: 150, transferMs: 150 },
      )
    }
    table.add(operation, cells)
  }
  table.print()
})

async function objects(): Promise<string[]> {
  const response = await fetch(`${settings.SUPABASE_URL}/storage/v1/object/list/project-snapshots`, {
    method: 'POST',
    headers: { apikey: service, authorization: `Bearer ${service}`, 'content-type': 'application/json' },
    body: JSON.stringify({ prefix: project, limit: 1000, offset: 0 }),
  })
  return (await response.json()).map((one: { name: string }) => `${project}/${one.name}`)
}
