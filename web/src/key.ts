/** The key behind the `#` of the address that was printed: it tells the console's owner from others of this machine. */
const KEPT = 'console-key'

/** Takes the key out of the address, and keeps it for this tab. */
function take(): string | null {
  const found = /^#key=([0-9a-f]+)$/.exec(location.hash)
  if (found?.[1]) {
    sessionStorage.setItem(KEPT, found[1])
    history.replaceState(null, '', location.pathname)
  }
  return sessionStorage.getItem(KEPT)
}

const key = take()

// The whole address, pasted into this tab, changes nothing but what stands behind the `#`.
addEventListener('hashchange', () => {
  if (location.hash.startsWith('#key=')) location.reload()
})

/** What a request for something private carries. */
export const keyHeaders: Record<string, string> = key ? { 'x-console-key': key } : {}

/** The feed's address: an `EventSource` sends no headers. */
export const feedAddress = `console/feed?key=${key ?? ''}`

/** Whether who answers here knows the key too, asked before it is sent: somebody else may have taken the port. */
export async function isOurs(): Promise<boolean> {
  if (!key) return false
  const nonce = hex(crypto.getRandomValues(new Uint8Array(16)))
  const answer = await fetch(`console/proof?nonce=${nonce}`)
  const said = new TextEncoder().encode(`${key}\n${location.host}\n${nonce}`)
  return answer.ok && (await answer.text()) === hex(new Uint8Array(await crypto.subtle.digest('SHA-256', said)))
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}
