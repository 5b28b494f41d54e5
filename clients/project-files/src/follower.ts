import { Channel } from './channel.js'
import type { Client, Database } from './database.js'
import { ProjectFilesError } from './errors.js'
import type { Reader } from './reader.js'
import type { ProjectState } from './state.js'
import type { ChannelState, Notice } from './types.js'
import { decodeEvent, versionsIn } from './wire.js'

/** A failed reading is repeated after at most this long, evenly spread from half of it. Milliseconds. */
const REPEAT_READING_MS = 5_000

/** What a follower needs. */
export interface FollowerContext {
  client: Client
  database: Database
  state: ProjectState
  reader: Reader
  /** The head is requested about this often, in milliseconds. */
  headCheckMs: number
  random: () => number
  notify: (notice: Notice) => void
  onChanged: (paths: Set<string>) => void
  /** Resolves when the channel of an earlier follower was left. */
  previousLeft: Promise<void>
}

/**
 * Keeps the state at the database's head: applies events, reads what was missed after every join, and requests the head
 * regularly, since any event may be lost.
 */
export class Follower {
  private readonly channel: Channel
  private timer: ReturnType<typeof setTimeout> | undefined
  private open = true
  private failing = false
  private eventsReceived = 0

  constructor(private readonly context: FollowerContext) {
    const { client, database, random, notify, previousLeft } = context
    const handlers = {
      onEvent: (name: string, payload: unknown) => this.onEvent(name, payload),
      onJoined: () => void this.catchUp(),
      onState: (state: ChannelState) => notify({ kind: 'channel', state }),
    }
    this.channel = new Channel(client, `project:${database.projectId}`, handlers, random, previousLeft)
    this.checkLater()
    // The files can be read even where the channel is never joined.
    void this.catchUp()
  }

  async close(): Promise<void> {
    this.open = false
    clearTimeout(this.timer)
    await this.channel.close()
  }

  /** Reads what was missed. A failure is reported to the listeners and repeated. */
  async catchUp(): Promise<void> {
    if (!this.open) return
    const { reader, notify } = this.context
    try {
      await reader.read('changes')
      if (!this.failing || !this.open) return
      this.failing = false
      notify({ kind: 'reading', error: null })
    } catch (error) {
      if (!this.open) return
      this.failing = true
      notify({ kind: 'reading', error: error instanceof ProjectFilesError ? error : unexpectedError(error) })
      this.checkLater(REPEAT_READING_MS)
    }
  }

  private onEvent(name: string, payload: unknown): void {
    const { state, reader, notify, onChanged } = this.context
    const event = decodeEvent(name, payload)
    if (event.kind === 'ignored') return
    this.eventsReceived += 1
    const changed = new Set<string>()
    const outcome = state.applyEvent(event, changed)
    onChanged(changed)
    for (const version of versionsIn(payload)) notify({ kind: 'event', ...version })
    if (outcome === 'behind' || (outcome === 'applied' && reader.hasMissingTexts())) void this.catchUp()
  }

  private checkLater(ms = this.context.headCheckMs): void {
    clearTimeout(this.timer)
    if (this.open) this.timer = setTimeout(() => void this.checkHead(), ms * (0.5 + this.context.random() / 2))
  }

  private async checkHead(): Promise<void> {
    const { database, state } = this.context
    const before = this.eventsReceived
    try {
      const head = await database.head()
      const known = state.table.knownRevision
      if (this.open && (head !== known || this.failing)) {
        await this.catchUp()
        // No event came for it: the channel is joined, but its stream has stopped.
        if (head > known && this.eventsReceived === before && this.open) await this.channel.rejoin()
      }
    } catch {
      // The next check requests it again; failures of readings are reported by `catchUp`.
    }
    this.checkLater(this.failing ? REPEAT_READING_MS : this.context.headCheckMs)
  }
}

function unexpectedError(error: unknown): ProjectFilesError {
  return new ProjectFilesError('unexpected', error instanceof Error ? error.message : String(error), '', {
    cause: error,
  })
}
