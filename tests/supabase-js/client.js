import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

/** The settings from the environment. */
export const settings = Object.fromEntries(
  [
    'SUPABASE_URL',
    'SUPABASE_ANON_KEY',
    'PUBLISHABLE_KEY',
    'EDITOR_TOKEN',
    'AGENT_TOKEN',
    'OTHER_AGENT_TOKEN',
    'STRANGER_TOKEN',
    'EXPIRED_TOKEN',
    'PROJECT_ID',
    'JWT_SECRET',
  ].map((name) => {
    const value = process.env[name]
    if (!value) throw new Error(`${name} is not set`)
    return [name, value]
  }),
)

const open = []

/**
 * The official client with a token, or with the key only. Node before 22 has no WebSocket. Without `setAuth` the client joins
 * its first channel before it has requested the token.
 */
export async function client({ token, vsn, key = settings.SUPABASE_ANON_KEY } = {}) {
  const made = createClient(settings.SUPABASE_URL, key, {
    ...(token ? { accessToken: async () => token } : { auth: { persistSession: false, autoRefreshToken: false } }),
    realtime: { transport: WebSocket, ...(vsn ? { vsn } : {}) },
  })
  open.push(made)
  if (token) await made.realtime.setAuth()
  return made
}

/** Ends every client of a test, so that the process can end. */
export async function closeAll() {
  for (const made of open.splice(0)) {
    await made.removeAllChannels()
    made.realtime.disconnect()
  }
}

/** Subscribes, and returns the queue of all statuses. */
export function subscribe(channel) {
  const statuses = queue()
  channel.subscribe((status, error) => statuses.push({ status, error }))
  return statuses
}

/** A queue of values; `take` waits up to 15 s for the next one. */
export function queue() {
  const values = []
  const waiting = []
  return {
    push(value) {
      const taker = waiting.shift()
      if (taker) taker(value)
      else values.push(value)
    },
    take() {
      if (values.length > 0) return Promise.resolve(values.shift())
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error('no value within 15 s')), 15_000)
        waiting.push((value) => {
          clearTimeout(timer)
          resolve(value)
        })
      })
    },
    get length() {
      return values.length
    },
  }
}
