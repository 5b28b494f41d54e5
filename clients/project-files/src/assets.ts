/** SHA-256 in lower-case hex. Browsers provide it on https and on localhost only. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await globalThis.crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>)
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** The UTF-8 bytes of a text, which is what the database hashes. */
export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

/** The text that the bytes encode, or null: the table accepts only UTF-8 without NUL as text. */
export function asText(bytes: Uint8Array): string | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    return text.includes('\0') ? null : text
  } catch {
    return null
  }
}
