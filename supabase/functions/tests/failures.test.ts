import type { Patience } from '../_shared/ask.ts'
import { type Faults, KINDS, type Kind } from './faults.ts'
import { inWorld, later, type Person, person, project, QUICK, rows, service, sessionsOf, World } from './fly_support.ts'
import { assert, assertEquals, post, rpc, settings } from './support.ts'

/** Every step of a start, in order, and who takes it. */
const STEPS: [keyof Pick<World, 'gateway' | 'fly'>, string][] = [
  ['gateway', 'rpc open_preview_session'],
  ['gateway', 'rpc project_head'],
  ['gateway', 'storage list'],
  ['gateway', 'storage sign'],
  ['fly', 'create'],
  ['fly', 'wait'],
  ['gateway', 'rpc preview_session_started'],
]
/** The same for a machine that died. */
const AGAIN: typeof STEPS = [
  ['fly', 'get'],
  ['fly', 'start'],
  ['gateway', 'rpc restart_preview_session'],
  ['gateway', 'rpc project_head'],
  ['gateway', 'rpc preview_session_started'],
]
const ENDING: typeof STEPS = [
  ['gateway', 'rpc end_preview_session'],
  ['fly', 'get'],
  ['fly', 'destroy'],
  ['gateway', 'rpc preview_session_gone'],
]

/** What must hold once everything works again and a lease is over: nothing is half there, and asked again it goes on. */
async function goesOn(world: World, who: Person, what: string): Promise<void> {
  const before = await sessionsOf(who.id)
  // Whoever was at work is gone: as if the rest of the lease had passed.
  for (const one of before.filter((one) => one.state === 'starting')) await later(one.id, 121)
  const { status, body } = await world.open(who.token)
  assertEquals([status, body.state], [200, 'running'], `${what}, asked again: ${JSON.stringify(body)}`)
  assertEquals((await world.sweep()).status, 200, what)
  const after = await sessionsOf(who.id)
  const live = after.filter((one) => !one.ended_at).map((one) => [one.id, one.state])
  assertEquals(live, [[body.session_id, 'running']], `${what}: live sessions`)
  assertEquals(
    after.filter((one) => one.state === 'ending'),
    [],
    `${what}: sessions that are still to end`,
  )
  const machines = world.fly.alive(after.map((one) => one.id)).map((one) => one.config.metadata.session_id)
  assertEquals(machines, [body.session_id], `${what}: machines`)
  assertEquals((await world.end(who.token, body.session_id)).body.state, 'ended', what)
}

/** Prints what came of each step and kind of failure. */
class Table {
  readonly #lines: string[] = []
  readonly #began = performance.now()

  constructor(readonly title: string) {
    this.#lines.push(['step'.padEnd(34), ...KINDS.map((kind) => kind.padEnd(16))].join(''))
  }

  add(step: string, cells: string[]): void {
    this.#lines.push([step.padEnd(34), ...cells.map((cell) => cell.padEnd(16))].join(''))
  }

  print(): void {
    const seconds = ((performance.now() - this.#began) / 1000).toFixed(1)
    console.log(`\n${this.title} (${seconds} s)\n${this.#lines.join('\n')}`)
  }
}

/** A failure as it is tried: with a person of its own, in a world that fails and, later, in one that does not. */
interface Try {
  who: Person
  kind: Kind
  what: string
}

/**
 * One line of the table: the step fails in each way, all at once, each in a world of its own; then all works again, and each
 * is told how it is to go on. The worlds have the same machines, so that every sweep sees all of them, as a real one does.
 */
async function everyKind(
  step: string,
  patience: Patience,
  fail: (world: World, tried: Try) => Promise<string>,
  goOn: (calm: World, tried: Try) => Promise<void>,
): Promise<string[]> {
  const calm = new World()
  const tries = await Promise.all(KINDS.map(async (kind) => ({ kind, who: await person(), what: `${step}, ${kind}` })))
  const worlds = KINDS.map(() => new World(patience, {}, calm))
  try {
    const cells = await Promise.all(tries.map((tried, at) => fail(worlds[at]!, tried)))
    await Promise.all(worlds.map((world) => world.mend()))
    await Promise.all(tries.map((tried) => goOn(calm, tried)))
    return cells
  } finally {
    for (const world of [...worlds, calm]) await world.stop()
  }
}

function faultsOf(world: World, at: 'gateway' | 'fly'): Faults {
  return world[at].faults
}

/** Whose effect comes after all, or comes and is not told, may leave what is taken over or swept. */
function mayTakeEffect(kind: Kind): boolean {
  return kind === 'late' || kind === 'hang' || kind === 'cut after'
}

/** A cell of the table: the answer's status, the person's session, and how many machines it has. */
async function left(world: World, who: Person, status: number): Promise<string> {
  const [session] = await sessionsOf(who.id)
  return `${status} ${session?.state ?? '-'} ${world.fly.alive([session?.id]).length}`
}

for (const times of [1, Infinity]) {
  const title = times === 1 ? 'a step that fails once' : 'a step that fails for good'
  Deno.test(`a start survives ${title}, or leaves nothing behind`, async () => {
    const table = new Table(
      `start, ${title}: answer; what is left of session and machine before anything is asked again`,
    )
    for (const [at, operation] of STEPS) {
      const fail = async (world: World, { who, kind, what }: Try) => {
        faultsOf(world, at).fail(operation, kind, times)
        const { status, body } = await world.open(who.token)
        assert([200, 202, 503].includes(status), `${what}: ${status} ${JSON.stringify(body)}`)
        // What fails once is tried again; nobody hears of it.
        if (times === 1) assertEquals([status, body.state], [200, 'running'], `${what}: ${JSON.stringify(body)}`)
        const cell = await left(world, who, status)
        if (times > 1 && !mayTakeEffect(kind)) {
          assertEquals(cell, operation.startsWith('rpc open') ? '503 - 0' : '503 ended 0', what)
        }
        return cell
      }
      // A failure that is to pass must not be one of a busy machine: then more than one try is late.
      const patience = times === 1 ? { ...QUICK, tries: 4, tryMs: 800, longTryMs: 3_000, totalMs: 30_000 } : QUICK
      table.add(operation, await everyKind(operation, patience, fail, (calm, { who, what }) => goesOn(calm, who, what)))
    }
    table.print()
  })
}

Deno.test('a machine that died is started again, or the session ends, whatever fails', async () => {
  const table = new Table('start again, a step that fails for good')
  for (const [at, operation] of AGAIN) {
    const fail = async (world: World, { who, kind, what }: Try) => {
      const {
        body: { session_id: id },
      } = await world.calmly().open(who.token)
      world.fly.alive([id])[0]!.state = operation === 'start' ? 'suspended' : 'failed'
      faultsOf(world, at).fail(operation, kind)
      const { status } = await world.open(who.token)
      const cell = await left(world, who, status)
      // What only was looked at or woken is left alone.
      if (operation === 'get' || operation === 'start') assertEquals(cell, '503 running 1', what)
      if (operation === 'rpc preview_session_started' && !mayTakeEffect(kind)) {
        assertEquals(cell, '503 ended 0', what)
      }
      return cell
    }
    table.add(operation, await everyKind(operation, QUICK, fail, (calm, { who, what }) => goesOn(calm, who, what)))
  }
  table.print()
})

Deno.test('a session that cannot be ended whole is ended by the sweep', async () => {
  const table = new Table('end, a step that fails for good: answer, session, machines')
  for (const [at, operation] of ENDING) {
    const fail = async (world: World, { who, kind, what }: Try) => {
      const {
        body: { session_id: id },
      } = await world.calmly().open(who.token)
      faultsOf(world, at).fail(operation, kind)
      const { status, body } = await world.end(who.token, id)
      if (operation.startsWith('rpc end')) assertEquals(status, 503, what)
      else assertEquals([status, body.state], [202, 'ending'], what)
      return await left(world, who, status)
    }
    const goOn = async (calm: World, { who, what }: Try) => {
      const [session] = await sessionsOf(who.id)
      if (!session.ended_at) assertEquals((await calm.end(who.token, session.id)).status, 200, what)
      assertEquals((await calm.sweep()).body.left, 0, what)
      assertEquals([(await sessionsOf(who.id))[0].state, calm.fly.alive([session.id])], ['ended', []], what)
    }
    table.add(operation, await everyKind(operation, QUICK, fail, goOn))
  }
  table.print()
})

Deno.test('a sweep that cannot ask is done by the next one', () =>
  inWorld(async (world) => {
    const who = await person()
    const {
      body: { session_id: id },
    } = await world.calmly().open(who.token)
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
      await world.mend()
    }
    assertEquals((await world.sweep()).body.left, 0)
    assertEquals([(await sessionsOf(who.id))[0].state, world.fly.alive()], ['ended', []])
  }, QUICK))

const BUILDING = [
  'rpc list_project_changes',
  'storage authenticated',
  'storage list',
  'storage upload',
  'storage sign',
  'storage remove',
]

Deno.test('a snapshot that cannot be built leaves no half of it, whatever fails', async () => {
  const table = new Table('build, a step that fails for good: answer, new objects then, and when asked again')
  for (const operation of BUILDING) {
    // One after the other: each needs a state of its own.
    const cells: string[] = []
    for (const kind of KINDS) {
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
          await world.mend()
          const again = await build(world.calmly())
          assertEquals(again.status, 200, `${what}, asked again: ${JSON.stringify(again.body)}`)
          const zip = new Uint8Array(await (await fetch(again.body.snapshot_url)).arrayBuffer())
          const [start, end] = [zip.subarray(0, 4), zip.subarray(zip.length - 22, zip.length - 18)]
          assertEquals([...start, ...end], [80, 75, 3, 4, 80, 75, 5, 6], `${what}: a whole zip`)
          const after = (await objects()).filter((one) => !before.includes(one))
          assertEquals(after, [again.body.object], `${what}: one object of this state`)
          cells.push(`${status} ${made.length} ${again.body.built ? 'built' : 'there'}`)
        },
        { ...QUICK, tryMs: 150, longTryMs: 150 },
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
