import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Edit, ProjectState, type TargetState } from '../dist/state.js'
import type { Listing } from '../dist/table.js'
import * as wire from '../dist/wire.js'
import { Model, type ModelWrite } from './model.js'

const SEEDS = Number(process.env.SEEDS ?? 300)
const STEPS = 400
const PATHS = ['a', 'b', 'c', 'd e', 'ü']

interface SentWrite {
  edit: Edit
  writes: ModelWrite[]
  /** The database's answer; null until the write has reached it. */
  answer: ReturnType<Model['write']> | null
}

/** An editor: its state, the events that were sent to it, and the reading and the write that have not ended. */
class Client {
  readonly state = new ProjectState()
  events: unknown[] = []
  listing: { listing: Listing; next: number } | null = null
  readAgain = false
  sent: SentWrite | null = null
  /** The known revision of each path; only a reset may lower it. */
  revisions = new Map<string, number>()
  known = 0
  epoch = 0
}

/** A random generator with a seed (mulberry32). */
function randomGenerator(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

function startReading(client: Client, scope: 'changes' | 'all' = 'changes'): void {
  if (client.listing) client.readAgain = true
  else {
    const since = scope === 'all' ? 0 : client.state.table.knownRevision
    client.listing = { listing: client.state.table.listing(since), next: since }
  }
}

function readPage(client: Client, model: Model, most: number): void {
  if (!client.listing) return
  const { listing, next } = client.listing
  const after = listing.add(wire.page(model.list(next, most)))
  if (after !== null) {
    client.listing.next = after
    return
  }
  client.listing = null
  const applied = client.state.applyListing(listing, new Set())
  if (!applied || client.readAgain) {
    client.readAgain = false
    startReading(client)
  }
}

function receive(client: Client, event: unknown): void {
  const outcome = client.state.applyEvent(wire.decodeEvent('bulk:apply', event), new Set())
  if (outcome === 'behind') startReading(client)
}

function begin(client: Client, contents: [string, string | null][]): void {
  const targets = new Map(
    contents.map(([path, content]): [string, TargetState] => [
      path,
      content === null ? { kind: 'removed' } : { kind: 'text', content },
    ]),
  )
  const edit = client.state.begin(targets, new Map(), new Set())
  for (const [path, content] of contents)
    assert.equal(client.state.view(path)?.content, content ?? undefined, 'shown at once')
  const writes = contents.map(([path, content]) => ({ path, content, expected: client.state.expected(edit, path) }))
  client.sent = { edit, writes, answer: null }
}

/** The write reaches the database, perhaps for the second time. */
function deliver(client: Client, model: Model, clients: Client[]): void {
  if (!client.sent) return
  client.sent.answer = model.write(client.sent.writes)
  for (const other of clients) if (client.sent.answer.event) other.events.push(client.sent.answer.event)
}

function receiveAnswer(client: Client): void {
  const { sent } = client
  if (!sent?.answer) return
  client.sent = null
  const { conflict, rows } = sent.answer
  if (!conflict) {
    if (!client.state.confirm(sent.edit, rows.map(wire.row), new Set())) startReading(client)
    return
  }
  const expected = sent.writes.find((one) => one.path === conflict.path)?.expected ?? 0
  client.state.conflict(sent.edit, conflict.path, expected, conflict.current, new Set())
  startReading(client)
}

function assertNotLower(client: Client): void {
  const { table } = client.state
  if (table.epoch !== client.epoch) client.revisions.clear()
  else assert(table.knownRevision >= client.known, 'the known revision went down')
  for (const [path, revision] of client.revisions) {
    const row = table.rows.get(path)
    assert(row === undefined || row.revision >= revision, `${path} went down`)
  }
  client.revisions = new Map([...table.rows].map(([path, row]) => [path, row.revision]))
  client.known = table.knownRevision
  client.epoch = table.epoch
}

function simulate(seed: number): { resets: number; conflicts: number } {
  const random = randomGenerator(seed)
  const model = new Model()
  const clients = [new Client(), new Client(), new Client()]
  let restore: (() => void) | null = null
  let restored = false
  let conflicts = 0
  const path = () => PATHS[random(PATHS.length)]!
  const content = () => (random(4) === 0 ? null : `text ${random(6)}`)
  for (let step = 0; step < STEPS; step += 1) {
    const client = clients[random(clients.length)]!
    const kind = random(100)
    if (kind < 20 && !client.sent) {
      const paths = random(4) === 0 ? [...new Set([path(), path()])] : [path()]
      begin(
        client,
        paths.map((one) => [one, content()]),
      )
    } else if (kind < 38) {
      deliver(client, model, clients)
    } else if (kind < 52) {
      if (client.sent?.answer?.conflict) conflicts += 1
      receiveAnswer(client)
    } else if (kind < 54 && client.sent) {
      // Given up: it is not known whether it was written.
      client.state.rollBack(client.sent.edit, new Set())
      client.sent = null
    } else if (kind < 76 && client.events.length > 0) {
      const event = client.events.splice(random(8) === 0 ? random(client.events.length) : 0, 1)[0]
      if (random(8) > 0) receive(client, event)
      if (random(10) === 0) receive(client, event)
    } else if (kind < 94) {
      readPage(client, model, 1 + random(3))
    } else if (kind < 96) {
      startReading(client, random(3) === 0 ? 'all' : 'changes')
    } else if (kind < 97) {
      model.prune()
    } else if (kind < 98) {
      restore = model.backup()
    } else if (kind === 98 && restore && random(2) === 0) {
      restore()
      restore = null
      // Events, pages and answers from before the restore are lost.
      for (const one of clients) {
        one.events = []
        one.listing = null
        if (one.sent?.answer) one.state.rollBack(one.sent.edit, new Set())
        if (one.sent?.answer) one.sent = null
      }
      restored = true
    }
    if (restored) client.revisions.clear()
    assertNotLower(client)
  }
  const resets = clients.reduce((sum, client) => sum + client.epoch, 0)
  for (const client of clients) {
    if (client.sent && !client.sent.answer) deliver(client, model, clients)
    receiveAnswer(client)
  }
  // As the head check does: the database may have been restored to exactly the revision that is known.
  for (const client of clients) {
    client.events = []
    while (client.listing) readPage(client, model, 2)
    startReading(client)
    while (client.listing) readPage(client, model, 2)
    // Two histories with the same head differ only in the full listing.
    if (restored) startReading(client, 'all')
    while (client.listing) readPage(client, model, 2)
    for (const one of PATHS) client.state.discard(one, new Set())
    const shown = client.state
      .paths()
      .map((one) => [one, client.state.view(one)?.state, client.state.view(one)?.content])
    const rows = [...model.rows.values()].filter((row) => !row.is_deleted)
    const expected = rows.map((row) => [row.file_path, 'saved', row.content]).sort((a, b) => (a[0]! < b[0]! ? -1 : 1))
    assert.deepEqual(shown, expected)
    assert.equal(client.state.table.knownRevision, model.head)
  }
  return { resets, conflicts }
}

test('the state equals the database after lost, late, doubled and reordered answers and events', (t) => {
  let [resets, conflicts] = [0, 0]
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    try {
      const counts = simulate(seed)
      resets += counts.resets
      conflicts += counts.conflicts
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    }
  }
  t.diagnostic(`${SEEDS} seeds of ${STEPS} steps: ${resets} resets, ${conflicts} conflicts`)
  assert(resets > 0 && conflicts > 0)
})

const row = (path: string, version: number, revision: number, content: string | null = 'x') =>
  wire.row({
    file_path: path,
    version,
    revision,
    content,
    content_hash: content === null ? null : `hash of ${content}`,
    size: 1,
    encoding: 'utf-8',
    is_deleted: content === null,
  })

test('a late answer does not undo a newer event', () => {
  const state = new ProjectState()
  const edit = state.begin(new Map([['a', { kind: 'text', content: 'mine' }]]), new Map(), new Set())
  state.applyEvent({ kind: 'rows', revision: 1, rows: [row('a', 1, 1, 'mine')] }, new Set())
  state.applyEvent({ kind: 'rows', revision: 2, rows: [row('a', 2, 2, 'theirs')] }, new Set())
  assert.equal(state.view('a')?.content, 'mine', 'shown until the answer comes')
  state.confirm(edit, [row('a', 1, 1, 'mine')], new Set())
  assert.equal(state.view('a')?.content, 'theirs')
})

test('a missing or incomplete event makes the state read from the database', () => {
  const state = new ProjectState()
  const receive = (event: string, payload: unknown) => state.applyEvent(wire.decodeEvent(event, payload), new Set())
  const update = { file_path: 'a', version: 1, content: 'x', content_hash: 'h', encoding: 'utf-8', size: 1 }
  assert.equal(receive('file:update', { ...update, revision: 2 }), 'behind')
  assert.equal(receive('file:update', update), 'behind')
  assert.equal(receive('file:update', { ...update, revision: 1, content_hash: null }), 'behind')
  assert.equal(receive('bulk:apply', { revision: 1, files: [], count: 3, files_omitted: true }), 'behind')
  assert.equal(receive('bulk:apply', { revision: 1, files: [{ ...update, action: 'update' }], count: 2 }), 'behind')
  assert.equal(receive('snapshot:ready', { revision: 1 }), 'behind')
  assert.equal(receive('something:else', { revision: 1 }), 'old')
  assert.equal(receive('file:update', { ...update, path: 'a', revision: 1 }), 'applied')
  assert.equal(receive('file:update', { ...update, revision: 1, content: 'forged' }), 'old')
  assert.equal(state.view('a')?.content, 'x')
  assert.equal(receive('file:delete', { path: 'a', version: 2, revision: 2 }), 'applied')
  assert.equal(state.view('a'), undefined)
})

test('pages are applied only with the last one, whose head counts', () => {
  const state = new ProjectState()
  const listing = state.table.listing(0)
  assert.equal(listing.add({ head: 5, complete: false, reset: false, rows: [row('a', 1, 1), row('b', 1, 2)] }), 2)
  assert.equal(state.table.knownRevision, 0)
  // Between the two, b was deleted.
  assert.equal(listing.add({ head: 6, complete: true, reset: false, rows: [row('b', 2, 6, null)] }), null)
  assert(state.applyListing(listing, new Set()))
  assert.deepEqual(state.paths(), ['a'])
  assert.equal(state.table.knownRevision, 6)
})

test('an answer from before a reset is ignored after it', () => {
  const state = new ProjectState()
  const edit = state.begin(new Map([['a', { kind: 'text', content: 'mine' }]]), new Map(), new Set())
  const before = state.table.listing(0)
  const reset = state.table.listing(9)
  reset.add({ head: 1, complete: true, reset: true, rows: [row('b', 1, 1)] })
  state.applyListing(reset, new Set())
  assert.equal(state.confirm(edit, [row('a', 7, 10, 'mine')], new Set()), false)
  assert.deepEqual(state.paths(), ['b'])
  assert.equal(state.applyListing(before, new Set()), false, 'a listing from before it is ignored as well')
})
