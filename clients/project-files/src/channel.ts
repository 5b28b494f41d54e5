import type { RealtimeChannel } from '@supabase/supabase-js'
import type { Client } from './database.js'
import type { ChannelState } from './types.js'

export interface ChannelHandlers {
  onEvent(name: string, payload: unknown): void
  /** Events arrive from now on: what came before has to be read from the database. */
  onJoined(): void
  onState(state: ChannelState): void
}

/** How long after the server closed the channel it is joined again. Milliseconds, evenly spread from half of it. */
const REJOIN_MS = 2_000

/** The project's private channel. It stays joined until `close`; what supabase-js does not rejoin by itself is joined again. */
export class Channel {
  private channel: RealtimeChannel | null = null
  private timer: ReturnType<typeof setTimeout> | undefined
  private open = true

  constructor(
    private readonly client: Client,
    private readonly topic: string,
    private readonly handlers: ChannelHandlers,
    private readonly random: () => number,
    /** Resolves when the channel before it was left: until then supabase-js returns the old channel of that name. */
    private readonly previousLeft: Promise<void>,
  ) {
    handlers.onState('connecting')
    void this.join()
  }

  /** Leaves and joins again. This makes a server that has lost its stream from the database open a new one. */
  async rejoin(): Promise<void> {
    await this.leave()
    await this.join()
  }

  async close(): Promise<void> {
    this.open = false
    await this.leave()
  }

  private async join(): Promise<void> {
    try {
      await this.previousLeft
      // Without this the client joins its first channel before it has requested the token.
      await this.client.realtime.setAuth()
    } catch {
      return this.rejoinLater()
    }
    if (!this.open || this.channel) return
    // The server answers a join before its stream from the database is ready; a `system` message says when it is.
    const config = { private: true, broadcast: { replication_ready: true } }
    const channel = this.client.channel(this.topic, { config })
    const isCurrent = () => this.open && this.channel === channel
    this.channel = channel
    channel
      .on('broadcast', { event: '*' }, ({ event, payload }) => {
        if (isCurrent()) this.handlers.onEvent(event, payload)
      })
      .on('system', {}, (message: { extension?: string; status?: string }) => {
        if (isCurrent() && message.extension === 'system' && message.status === 'ok') this.handlers.onJoined()
      })
      .subscribe((status) => {
        if (!isCurrent()) return
        if (status === 'SUBSCRIBED') {
          this.handlers.onState('live')
          this.handlers.onJoined()
        } else {
          this.handlers.onState('lost')
          // The client reconnects by itself, but it does not rejoin a channel that the server closed.
          if (status === 'CLOSED') this.rejoinLater()
        }
      })
  }

  private rejoinLater(): void {
    if (!this.open) return
    clearTimeout(this.timer)
    this.timer = setTimeout(() => void this.rejoin(), REJOIN_MS * (0.5 + this.random() / 2))
  }

  private async leave(): Promise<void> {
    clearTimeout(this.timer)
    const channel = this.channel
    this.channel = null
    if (channel) await this.client.removeChannel(channel)
  }
}
