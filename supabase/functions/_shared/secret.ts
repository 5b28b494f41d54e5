/** A value that is never printed: not in a log line, not in JSON, not in an error. */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  /** The value itself, for the code that sends it. */
  reveal(): string {
    return this.#value
  }

  /** Compares with `other` in constant time. */
  async equals(other: string): Promise<boolean> {
    const [a, b] = await Promise.all([digest(this.#value), digest(other)])
    let difference = 0
    for (let at = 0; at < a.length; at++) difference |= a[at]! ^ b[at]!
    return difference === 0
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [Symbol.for('Deno.customInspect')](): string {
    return '[secret]'
  }
}

async function digest(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)))
}
