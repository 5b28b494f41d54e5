/** Where the key is kept for this browser tab. The key is the part behind the `#` of the printed address. */
const STORAGE_NAME = 'console-key'

/** Removes the key from the address and keeps it for this tab. */
function takeKey(): string | null {
  const found = /^#key=([0-9a-f]+)$/.exec(location.hash)
  if (found?.[1]) {
    sessionStorage.setItem(STORAGE_NAME, found[1])
    history.replaceState(null, '', location.pathname)
  }
  return sessionStorage.getItem(STORAGE_NAME)
}

const key = takeKey()

// Pasting the whole address into this tab changes only the part behind the `#`, which loads nothing by itself.
addEventListener('hashchange', () => {
  if (location.hash.startsWith('#key=')) location.reload()
})

/** The headers of a request for private data. */
export const keyHeaders: Record<string, string> = key ? { 'x-console-key': key } : {}

/** The feed's address. An `EventSource` cannot send headers. */
export const feedAddress = `console/feed?key=${key ?? ''}`

/**
 * Whether the program that answers here knows the key. Asked before the key is sent, since another program may listen on the
 * port by now.
 */
export async function serverKnowsKey(): Promise<boolean> {
  if (!key) return false
  const nonce = hex(crypto.getRandomValues(new Uint8Array(16)))
  const answer = await fetch(`console/proof?nonce=${nonce}`)
  const proven = new TextEncoder().encode(`${key}\n${location.host}\n${nonce}`)
  return answer.ok && (await answer.text()) === hex(new Uint8Array(await crypto.subtle.digest('SHA-256', proven)))
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}
