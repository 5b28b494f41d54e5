import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Edit, ProjectState, type Wish } from '../dist/state.js'
import type { Listing } from '../dist/table.js'
import * as wire from '../dist/wire.js'
import { Model, type Wanted } from './model.js'

const SEEDS = Number(process.env.SEEDS ?? 300)
const STEPS = 400
const PATHS = ['a', 'b', 'c', 'd e', 'ü']

interface Sent {
  edit: Edit
  wanted: Wanted[]
  /** Null until the database has it; what it answered. */
  answer: ReturnType<Model['write']> | null
}

/** An editor: its state, the events that are under way to it, a reading and a write that have not ended. */
class Client {
  readonly state = new ProjectState()
  events: unknown[] = []
  listing: { listing: Listing; next: number } | null = null
  again = false
  sent: Sent | null = null
  /** What was known of each path; it never goes down but by a reset. */
  seen = new Map<string, number>()
  known = 0
  epoch = 0
}

/** Numbers from a seed (mulberry32). */
function dice(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

function behind(client: Client, from0 = false): void {
  if (client.listing) client.again = true
  else {
    const since = from0 ? 0 : client.state.table.known
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
  const taken = client.state.take(listing, new Set())
  if (!taken || client.again) {
    client.again = false
    behind(client)
  }
}

function hear(client: Client, event: unknown): void {
  if (client.state.hear(wire.heard('bulk:apply', event), new Set()) === 'behind') behind(client)
}

function begin(client: Client, wishes: [string, string | null][]): void {
  const given = new Map(
    wishes.map(([path, content]): [string, Wish] => [
      path,
      content === null ? { kind: 'removed' } : { kind: 'text', content },
    ]),
  )
  const edit = client.state.begin(given, new Map(), new Set())
  for (const [path, content] of wishes)
    assert.equal(client.state.view(path)?.content, content ?? undefined, 'shown at once')
  const wanted = wishes.map(([path, content]) => ({ path, content, expected: client.state.expected(edit, path) }))
  client.sent = { edit, wanted, answer: null }
}

/** The database gets it, perhaps for the second time. */
function arrive(client: Client, model: Model, clients: Client[]): void {
  if (!client.sent) return
  client.sent.answer = model.write(client.sent.wanted)
  for (const other of clients) if (client.sent.answer.event) other.events.push(client.sent.answer.event)
}

function answered(client: Client): void {
  const { sent } = client
  if (!sent?.answer) return
  client.sent = null
  const { conflict, rows } = sent.answer
  if (!conflict) {
    if (!client.state.confirm(sent.edit, rows.map(wire.row), new Set())) behind(client)
    return
  }
  const expected = sent.wanted.find((one) => one.path === conflict.path)?.expected ?? 0
  client.state.conflict(sent.edit, conflict.path, expected, conflict.current, new Set())
  behind(client)
}

function neverDown(client: Client): void {
  const { table } = client.state
  if (table.epoch !== client.epoch) client.seen.clear()
  else assert(table.known >= client.known, 'the known revision went down')
  for (const [path, revision] of client.seen) {
    const row = table.rows.get(path)
    assert(row === undefined || row.revision >= revision, `${path} went down`)
  }
  client.seen = new Map([...table.rows].map(([path, row]) => [path, row.revision]))
  client.known = table.known
  client.epoch = table.epoch
}

function live(seed: number): { resets: number; conflicts: number } {
  const roll = dice(seed)
  const model = new Model()
  const clients = [new Client(), new Client(), new Client()]
  let restore: (() => void) | null = null
  let restored = false
  let conflicts = 0
  const path = () => PATHS[roll(PATHS.length)]!
  const content = () => (roll(4) === 0 ? null : `text ${roll(6)}`)
  for (let step = 0; step < STEPS; step += 1) {
    const client = clients[roll(clients.length)]!
    const kind = roll(100)
    if (kind < 20 && !client.sent) {
      const paths = roll(4) === 0 ? [...new Set([path(), path()])] : [path()]
      begin(
        client,
        paths.map((one) => [one, content()]),
      )
    } else if (kind < 38) {
      arrive(client, model, clients)
    } else if (kind < 52) {
      if (client.sent?.answer?.conflict) conflicts += 1
      answered(client)
    } else if (kind < 54 && client.sent) {
      // Given up: nobody knows whether it was written.
      client.state.rollBack(client.sent.edit, new Set())
      client.sent = null
    } else if (kind < 76 && client.events.length > 0) {
      const event = client.events.splice(roll(8) === 0 ? roll(client.events.length) : 0, 1)[0]
      if (roll(8) > 0) hear(client, event)
      if (roll(10) === 0) hear(client, event)
    } else if (kind < 94) {
      readPage(client, model, 1 + roll(3))
    } else if (kind < 96) {
      behind(client, roll(3) === 0)
    } else if (kind < 97) {
      model.prune()
    } else if (kind < 98) {
      restore = model.backup()
    } else if (kind === 98 && restore && roll(2) === 0) {
      restore()
      restore = null
      // A server that was put back has forgotten whom it owed events, pages and answers.
      for (const one of clients) {
        one.events = []
        one.listing = null
        if (one.sent?.answer) one.state.rollBack(one.sent.edit, new Set())
        if (one.sent?.answer) one.sent = null
      }
      restored = true
    }
    if (restored) client.seen.clear()
    neverDown(client)
  }
  const resets = clients.reduce((sum, client) => sum + client.epoch, 0)
  for (const client of clients) {
    if (client.sent && !client.sent.answer) arrive(client, model, clients)
    answered(client)
  }
  // As the head check finds it: the history may have been put back to the very revision that is known.
  for (const client of clients) {
    client.events = []
    while (client.listing) readPage(client, model, 2)
    behind(client)
    while (client.listing) readPage(client, model, 2)
    // Two histories of one length are told apart by the whole alone.
    if (restored) behind(client, true)
    while (client.listing) readPage(client, model, 2)
    for (const one of PATHS) client.state.discard(one, new Set())
    const shown = client.state
      .paths()
      .map((one) => [one, client.state.view(one)?.state, client.state.view(one)?.content])
    const rows = [...model.rows.values()].filter((row) => !row.is_deleted)
    const there = rows.map((row) => [row.file_path, 'saved', row.content]).sort((a, b) => (a[0]! < b[0]! ? -1 : 1))
    assert.deepEqual(shown, there)
    assert.equal(client.state.table.known, model.head)
  }
  return { resets, conflicts }
}

test('however answers, events and losses fall, the state ends as the database is', (t) => {
  let [resets, conflicts] = [0, 0]
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    try {
      const counts = live(seed)
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

test('a late answer undoes nothing', () => {
  const state = new ProjectState()
  const edit = state.begin(new Map([['a', { kind: 'text', content: 'mine' }]]), new Map(), new Set())
  state.hear({ kind: 'rows', revision: 1, rows: [row('a', 1, 1, 'mine')] }, new Set())
  state.hear({ kind: 'rows', revision: 2, rows: [row('a', 2, 2, 'theirs')] }, new Set())
  assert.equal(state.view('a')?.content, 'mine', 'the answer is awaited')
  state.confirm(edit, [row('a', 1, 1, 'mine')], new Set())
  assert.equal(state.view('a')?.content, 'theirs')
})

test('an event that was missed is not passed over, nor is one that does not say all', () => {
  const state = new ProjectState()
  const hear = (event: string, payload: unknown) => state.hear(wire.heard(event, payload), new Set())
  const update = { file_path: 'a', version: 1, content: 'x', content_hash: 'h', encoding: 'utf-8', size: 1 }
  assert.equal(hear('file:update', { ...update, revision: 2 }), 'behind')
  assert.equal(hear('file:update', update), 'behind')
  assert.equal(hear('file:update', { ...update, revision: 1, content_hash: null }), 'behind')
  assert.equal(hear('bulk:apply', { revision: 1, files: [], count: 3, files_omitted: true }), 'behind')
  assert.equal(hear('bulk:apply', { revision: 1, files: [{ ...update, action: 'update' }], count: 2 }), 'behind')
  assert.equal(hear('snapshot:ready', { revision: 1 }), 'behind')
  assert.equal(hear('something:else', { revision: 1 }), 'old')
  assert.equal(hear('file:update', { ...update, path: 'a', revision: 1 }), 'taken')
  assert.equal(hear('file:update', { ...update, revision: 1, content: 'forged' }), 'old')
  assert.equal(state.view('a')?.content, 'x')
  assert.equal(hear('file:delete', { path: 'a', version: 2, revision: 2 }), 'taken')
  assert.equal(state.view('a'), undefined)
})

test('pages before the last are no state, and the last one says the head', () => {
  const state = new ProjectState()
  const listing = state.table.listing(0)
  assert.equal(listing.add({ head: 5, complete: false, reset: false, rows: [row('a', 1, 1), row('b', 1, 2)] }), 2)
  assert.equal(state.table.known, 0)
  // Between the two, b was deleted.
  assert.equal(listing.add({ head: 6, complete: true, reset: false, rows: [row('b', 2, 6, null)] }), null)
  assert(state.take(listing, new Set()))
  assert.deepEqual(state.paths(), ['a'])
  assert.equal(state.table.known, 6)
})

test('an answer from before a reset says nothing about what came after', () => {
  const state = new ProjectState()
  const edit = state.begin(new Map([['a', { kind: 'text', content: 'mine' }]]), new Map(), new Set())
  const before = state.table.listing(0)
  const reset = state.table.listing(9)
  reset.add({ head: 1, complete: true, reset: true, rows: [row('b', 1, 1)] })
  state.take(reset, new Set())
  assert.equal(state.confirm(edit, [row('a', 7, 10, 'mine')], new Set()), false)
  assert.deepEqual(state.paths(), ['b'])
  assert.equal(state.take(before, new Set()), false, 'nor does a listing that was begun before')
})
