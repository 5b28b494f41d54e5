import { Channel } from './channel.js'
import type { Client } from './database.js'
import { ProjectFilesError } from './errors.js'
import { PreviewState } from './preview-state.js'
import type { PreviewEvents, Problem, Settled, Verdict } from './preview-types.js'
import { decodePreviewEvent } from './preview-wire.js'
import { abortedError } from './retry.js'

/** What a preview's follower needs. */
export interface PreviewContext {
  client: Client
  projectId: string
  /** Only events of this session count; undefined: of every session. */
  sessionId: string | undefined
  random: () => number
  /** Ends every wait. */
  closed: AbortSignal
}

type Handlers = { [Name in keyof PreviewEvents]: Set<(value: PreviewEvents[Name]) => void> }

/** Follows the status topic of a project from its first use until `close`. */
export class Preview {
  private readonly state: PreviewState
  private readonly handlers: Handlers = { problem: new Set(), resolved: new Set(), verdict: new Set() }
  /** Called after each event. */
  private readonly waiting = new Set<() => void>()
  private channel: Channel | null = null

  constructor(private readonly context: PreviewContext) {
    this.state = new PreviewState(context.sessionId)
  }

  problems(): Problem[] {
    this.follow()
    return this.state.problems()
  }

  verdict(): Verdict | null {
    this.follow()
    return this.state.verdict()
  }

  on<Name extends keyof PreviewEvents>(event: Name, handler: (value: PreviewEvents[Name]) => void): () => void {
    this.follow()
    const handlers = this.handlers[event]
    if (!handlers)
      throw new ProjectFilesError('refused', `there is no event ${String(event)}: problem, resolved, verdict`)
    const own = (value: PreviewEvents[Name]) => handler(value)
    handlers.add(own)
    return () => handlers.delete(own)
  }

  async settled(revision: number, timeoutMs: number, signal: AbortSignal | undefined): Promise<Settled> {
    if (!Number.isSafeInteger(revision) || revision < 0) {
      throw new ProjectFilesError(
        'refused',
        `the revision is ${String(revision)}: it must be a whole number of at least 0`,
      )
    }
    this.follow()
    const ends = signal ? AbortSignal.any([signal, this.context.closed]) : this.context.closed
    if (ends.aborted) throw abortedError(ends)
    return new Promise((resolve, reject) => {
      const look = () => {
        const settled = this.state.settled(revision)
        if (!settled) return
        end()
        resolve(settled)
      }
      const stop = () => {
        end()
        reject(abortedError(ends))
      }
      const late = () => {
        end()
        reject(this.late(revision, timeoutMs))
      }
      const timer = setTimeout(late, timeoutMs)
      const end = () => {
        clearTimeout(timer)
        this.waiting.delete(look)
        ends.removeEventListener('abort', stop)
      }
      ends.addEventListener('abort', stop)
      this.waiting.add(look)
      look()
    })
  }

  async close(): Promise<void> {
    await this.channel?.close()
  }

  private late(revision: number, timeoutMs: number): ProjectFilesError {
    const last = this.state.verdict()
    const known = last
      ? `the last verdict is ${last.verdict}, ${last.seen}, at revision ${last.revision}`
      : 'no preview of this project has reported: is one open, and does its agent have PUBLISH_STATUS?'
    return new ProjectFilesError('timeout', `no verdict about revision ${revision} within ${timeoutMs} ms: ${known}`)
  }

  private follow(): void {
    const { client, projectId, random, closed } = this.context
    if (closed.aborted) throw abortedError(closed)
    const handlers = {
      onEvent: (name: string, payload: unknown) => this.onEvent(name, payload),
      onJoined: () => {},
      onState: () => {},
    }
    this.channel ??= new Channel(client, `project:${projectId}:status`, handlers, random, Promise.resolve())
  }

  private onEvent(name: string, payload: unknown): void {
    const event = decodePreviewEvent(name, payload)
    if (!event) return
    for (const change of this.state.apply(event)) this.tell(change.event, change.value)
    for (const look of [...this.waiting]) look()
  }

  private tell<Name extends keyof PreviewEvents>(event: Name, value: PreviewEvents[Name]): void {
    for (const handler of [...this.handlers[event]]) {
      try {
        handler(value)
      } catch (error) {
        // An error in one handler must not stop the others.
        console.error(`a handler of ${event} failed:`, error)
      }
    }
  }
}
