import { Channel } from './channel.js'
import type { Client, Database } from './database.js'
import { ProjectFilesError } from './errors.js'
import type { Reader } from './reader.js'
import type { ProjectState } from './state.js'
import type { Notice } from './types.js'
import { heard, named } from './wire.js'

/** A failed reading is tried again after at most this long, evenly spread from half of it. Milliseconds. */
const AGAIN_MS = 5_000

/**
 * Keeps the state at the database's head: takes in events, reads what they missed after every join, and asks for the head
 * from time to time, since any event may be lost.
 */
export class Follower {
  private readonly channel: Channel
  private timer: ReturnType<typeof setTimeout> | undefined
  private open = true
  private failing = false
  private events = 0

  constructor(
    client: Client,
    private readonly database: Database,
    private readonly state: ProjectState,
    private readonly reader: Reader,
    private readonly headCheckMs: number,
    private readonly random: () => number,
    private readonly tell: (notice: Notice) => void,
    private readonly changed: (paths: Set<string>) => void,
    /** When a channel of the same name may be made. */
    free: Promise<void>,
  ) {
    this.channel = new Channel(
      client,
      `project:${database.projectId}`,
      {
        heard: (event, payload) => this.heard(event, payload),
        joined: () => void this.catchUp(),
        live: (state) => tell({ kind: 'live', state }),
      },
      random,
      free,
    )
    this.later()
    // The channel may never be joined: the files are there all the same.
    void this.catchUp()
  }

  async close(): Promise<void> {
    this.open = false
    clearTimeout(this.timer)
    await this.channel.close()
  }

  /** Reads what was missed; what fails is told, and tried again. */
  async catchUp(): Promise<void> {
    if (!this.open) return
    try {
      await this.reader.read('changes')
      if (!this.failing || !this.open) return
      this.failing = false
      this.tell({ kind: 'reading', error: null })
    } catch (error) {
      if (!this.open) return
      this.failing = true
      this.tell({ kind: 'reading', error: error instanceof ProjectFilesError ? error : strange(error) })
      this.later(AGAIN_MS)
    }
  }

  private heard(event: string, payload: unknown): void {
    const what = heard(event, payload)
    if (what.kind === 'other') return
    this.events += 1
    const changed = new Set<string>()
    const taken = this.state.hear(what, changed)
    this.changed(changed)
    for (const told of named(payload)) this.tell({ kind: 'told', ...told })
    if (taken === 'behind' || (taken === 'taken' && this.reader.lacks())) void this.catchUp()
  }

  private later(ms = this.headCheckMs): void {
    clearTimeout(this.timer)
    if (this.open) this.timer = setTimeout(() => void this.check(), ms * (0.5 + this.random() / 2))
  }

  private async check(): Promise<void> {
    const before = this.events
    try {
      const head = await this.database.head()
      const known = this.state.table.known
      if (this.open && (head !== known || this.failing)) {
        await this.catchUp()
        // Nothing was heard of it: joined, and yet deaf.
        if (head > known && this.events === before && this.open) await this.channel.rejoin()
      }
    } catch {
      // The next check asks again; what cannot be reached tells by its own calls.
    }
    this.later(this.failing ? AGAIN_MS : this.headCheckMs)
  }
}

function strange(error: unknown): ProjectFilesError {
  return new ProjectFilesError('unexpected', error instanceof Error ? error.message : String(error), '', {
    cause: error,
  })
}
