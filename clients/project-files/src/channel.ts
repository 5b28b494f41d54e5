import type { RealtimeChannel } from '@supabase/supabase-js'
import type { Client } from './database.js'
import type { Live } from './types.js'

export interface Ears {
  heard(event: string, payload: unknown): void
  /** Events arrive from now on: what came before has to be read. */
  joined(): void
  live(state: Live): void
}

/** After this long the channel is joined anew where the server closed it. Milliseconds, evenly spread from half of it. */
const REJOIN_MS = 2_000

/** The project's private channel. It stays joined until it is closed: what the client does not mend by itself is joined anew. */
export class Channel {
  private channel: RealtimeChannel | null = null
  private timer: ReturnType<typeof setTimeout> | undefined
  private open = true

  constructor(
    private readonly client: Client,
    private readonly topic: string,
    private readonly ears: Ears,
    private readonly random: () => number,
    /** When a channel of the same name may be made: the client gives out an old one for as long as it is not left. */
    private readonly free: Promise<void>,
  ) {
    ears.live('connecting')
    void this.join()
  }

  /** Leaves and joins again: it wakes a server that has lost its stream from the database. */
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
      // Without it the client joins its first channel before it has asked for the token.
      await this.free
      await this.client.realtime.setAuth()
    } catch {
      return this.later()
    }
    if (!this.open || this.channel) return
    // The server answers a join before its stream from the database stands; `system` says when it does.
    const config = { private: true, broadcast: { replication_ready: true } }
    const channel = this.client.channel(this.topic, { config })
    const ours = () => this.open && this.channel === channel
    this.channel = channel
    channel
      .on('broadcast', { event: '*' }, ({ event, payload }) => {
        if (ours()) this.ears.heard(event, payload)
      })
      .on('system', {}, (said: { extension?: string; status?: string }) => {
        if (ours() && said.extension === 'system' && said.status === 'ok') this.ears.joined()
      })
      .subscribe((status) => {
        if (!ours()) return
        if (status === 'SUBSCRIBED') {
          this.ears.live('live')
          this.ears.joined()
        } else {
          this.ears.live('lost')
          // The client comes back by itself, but not from a channel that the server closed.
          if (status === 'CLOSED') this.later()
        }
      })
  }

  private later(): void {
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
