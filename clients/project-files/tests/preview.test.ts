import assert from 'node:assert/strict'
import { afterEach, mock, test } from 'node:test'
import { type Problem, ProjectFilesError, type Verdict } from '@preview-agent/project-files'
import { PreviewState } from '../dist/preview-state.js'
import { decodePreviewEvent, MAX_PROBLEMS } from '../dist/preview-wire.js'
import { closeAll, editor, PROJECT, setting, until } from './support.js'

afterEach(closeAll)

const kind = (wanted: string) => (error: unknown) => error instanceof ProjectFilesError && error.kind === wanted

/** Times that grow with each call. */
let ticks = 0
const at = () => new Date(1_800_000_000_000 + ticks++ * 1000).toISOString()

const problem = (id: string, more: Record<string, unknown> = {}) => {
  const first = at()
  return {
    session_id: 's1',
    id,
    kind: 'build',
    message: `message of ${id}`,
    file_path: 'src/App.tsx',
    line: 12,
    column: 5,
    revision: 7,
    count: 1,
    first_at: first,
    last_at: first,
    ...more,
  }
}
const verdict = (revision: number, problems: string[], more: Record<string, unknown> = {}) => ({
  session_id: 's1',
  revision,
  verdict: problems.length > 0 ? 'broken' : 'ok',
  seen: 'built',
  settled: true,
  problems,
  at: at(),
  ...more,
})

function apply(state: PreviewState, name: string, payload: unknown) {
  const event = decodePreviewEvent(name, payload)
  assert(event, `${name} is understood`)
  return state.apply(event)
}

test('a verdict ends every problem that it does not name', () => {
  const state = new PreviewState(undefined)
  apply(state, 'preview:problem', problem('a'))
  apply(state, 'preview:problem', problem('b'))
  const changes = apply(state, 'preview:verdict', verdict(8, ['b']))
  assert.deepEqual(
    changes.map(({ event }) => event),
    ['resolved', 'verdict'],
  )
  assert.deepEqual(
    state.problems().map(({ id }) => id),
    ['b'],
  )
  assert.equal(state.settled(8)?.problems[0]?.message, 'message of b')
  assert.equal(state.settled(9), null)
})

test('what is repeated is no change, and an older verdict is dropped', () => {
  const state = new PreviewState(undefined)
  const [opened, reached] = [problem('a'), verdict(3, ['a'])]
  assert.equal(apply(state, 'preview:problem', opened).length, 1)
  assert.equal(apply(state, 'preview:problem', opened).length, 0)
  assert.equal(apply(state, 'preview:problem', { ...opened, count: 2 }).length, 1)
  const newer = verdict(4, ['a'])
  assert.equal(apply(state, 'preview:verdict', newer).length, 1)
  assert.equal(apply(state, 'preview:verdict', newer).length, 0)
  assert.equal(apply(state, 'preview:verdict', reached).length, 0, 'it was reached earlier')
  assert.equal(state.verdict()?.revision, 4)
})

test('a verdict that is not settled ends no wait', () => {
  const state = new PreviewState(undefined)
  apply(state, 'preview:verdict', verdict(5, [], { seen: 'applied', settled: false }))
  assert.equal(state.settled(5), null)
  apply(state, 'preview:verdict', verdict(5, [], { seen: 'rendered' }))
  assert.equal(state.settled(4)?.seen, 'rendered')
})

test('one session can be followed alone', () => {
  const [one, all] = [new PreviewState('s1'), new PreviewState(undefined)]
  for (const state of [one, all]) {
    apply(state, 'preview:problem', problem('a'))
    apply(state, 'preview:problem', problem('a', { session_id: 's2' }))
  }
  assert.equal(one.problems().length, 1)
  assert.equal(all.problems().length, 2)
})

test('events that are malformed or too many change nothing', () => {
  const bad: [string, unknown][] = [
    ['preview:problem', null],
    ['preview:problem', problem('')],
    ['preview:problem', problem('x'.repeat(65))],
    ['preview:problem', problem('a', { kind: 'other' })],
    ['preview:problem', problem('a', { revision: -1 })],
    ['preview:problem', problem('a', { message: 5 })],
    ['preview:resolved', { session_id: 's1', revision: 1 }],
    ['preview:verdict', verdict(1, [], { seen: 'guessed' })],
    ['preview:verdict', verdict(1, [], { verdict: 'maybe' })],
    ['preview:verdict', verdict(1, [], { problems: 'none' })],
    ['preview:verdict', { ...verdict(1, []), session_id: 7 }],
    ['preview:status', { session_id: 's1', revision: 1 }],
  ]
  for (const [name, payload] of bad) assert.equal(decodePreviewEvent(name, payload), null, JSON.stringify(payload))
  const long = decodePreviewEvent('preview:problem', problem('a', { message: 'm'.repeat(1_000_000), line: 1.5 }))
  assert(long?.kind === 'problem' && long.problem.message.length === 8192 && long.problem.line === undefined)
  const state = new PreviewState(undefined)
  for (let count = 0; count < 2 * MAX_PROBLEMS; count += 1) apply(state, 'preview:problem', problem(`p${count}`))
  assert.equal(state.problems().length, MAX_PROBLEMS)
  for (let count = 0; count < 100; count += 1) {
    apply(state, 'preview:problem', problem('a', { session_id: `session ${count}` }))
  }
  assert(state.problems().length <= 20 * MAX_PROBLEMS)
})

/** An agent's own connection, which may send on the status topic. */
async function agent() {
  const { client } = editor({ token: setting('AGENT_TOKEN') })
  const channel = client.channel(`project:${PROJECT}:status`, { config: { private: true } })
  await client.realtime.setAuth()
  await new Promise<void>((resolve) => channel.subscribe((status) => status === 'SUBSCRIBED' && resolve()))
  return (event: string, payload: Record<string, unknown>) => channel.send({ type: 'broadcast', event, payload })
}

/** Sends it again and again, as the agent does, until it was received. */
async function received(send: () => Promise<unknown>, arrived: () => boolean) {
  const timer = setInterval(send, 50)
  try {
    await until('received', arrived)
  } finally {
    clearInterval(timer)
  }
}

test('problems, their end and verdicts arrive over the channel', async () => {
  const { files } = editor()
  const [opened, ended, verdicts]: [Problem[], string[], Verdict[]] = [[], [], []]
  files.on('problem', (one) => opened.push(one))
  files.on('resolved', ({ id, problem }) => ended.push(`${id} ${problem?.message}`))
  const removed = files.on('verdict', (one) => verdicts.push(one))
  const send = await agent()
  const first = problem('p1')
  await received(
    () => send('preview:problem', first),
    () => files.problems().length === 1,
  )
  assert.deepEqual(files.problems()[0], {
    id: 'p1',
    sessionId: 's1',
    kind: 'build',
    message: 'message of p1',
    path: 'src/App.tsx',
    line: 12,
    column: 5,
    revision: 7,
    count: 1,
    firstAt: Date.parse(first.first_at),
    lastAt: Date.parse(first.last_at),
  })
  const waiting = files.settled(7)
  await send('preview:verdict', verdict(7, ['p1']))
  const settled = await waiting
  assert.deepEqual([settled.verdict, settled.seen, settled.problems.length], ['broken', 'built', 1])
  removed()
  await send('preview:resolved', { session_id: 's1', id: 'p1', revision: 8 })
  await send('preview:verdict', verdict(8, []))
  assert.equal((await files.settled(8)).verdict, 'ok')
  assert.deepEqual([opened.length, ended, verdicts.length], [1, ['p1 message of p1'], 1])
})

test('a wait ends by its time, its signal or the close, each with its reason', async () => {
  const { files } = editor()
  await assert.rejects(files.settled(1.5), kind('refused'))
  await assert.rejects(files.settled(1, { timeoutMs: 20 }), (error: Error) => {
    assert.match(error.message, /no verdict about revision 1 within 20 ms: no preview of this project has reported/)
    return kind('timeout')(error)
  })
  await assert.rejects(files.settled(1, { signal: AbortSignal.abort() }), kind('aborted'))
  const stop = new AbortController()
  const stopped = assert.rejects(files.settled(1, { signal: stop.signal }), kind('aborted'))
  stop.abort()
  await stopped
  const closed = assert.rejects(files.settled(1), kind('aborted'))
  await files.close()
  await closed
  assert.throws(() => files.problems(), kind('aborted'))
})

test('a handler that throws stops no other', async () => {
  const { files } = editor()
  const errors = mock.method(console, 'error', () => {})
  let seen = 0
  files.on('problem', () => {
    throw new Error('thrown by the handler')
  })
  files.on('problem', () => {
    seen += 1
  })
  const send = await agent()
  const one = problem('p2')
  await received(
    () => send('preview:problem', one),
    () => seen === 1,
  )
  assert.match(String(errors.mock.calls[0]?.arguments), /thrown by the handler/)
  errors.mock.restore()
})
