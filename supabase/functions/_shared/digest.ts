const text = new TextEncoder();

/** Lower-case hex. */
export function hex(bytes: Uint8Array): string {
  let out = "";
  for (const byte of bytes) out += byte.toString(16).padStart(2, "0");
  return out;
}

/** sha256 in lower-case hex. */
export async function sha256(data: Uint8Array | string): Promise<string> {
  return hex(await raw(typeof data === "string" ? text.encode(data) : data));
}

async function raw(data: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data as Uint8Array<ArrayBuffer>));
}

/** What a digest is made of. */
export interface Listed {
  file_path: string;
  version: number;
  content_hash: string;
}

/** The digest of the project's live files (contract, section 5): 64 hex digits, zeros for none. */
export async function projectDigest(files: Iterable<Listed>): Promise<string> {
  const sum = new Uint8Array(32);
  for (const file of files) {
    const share = await raw(text.encode(`${file.file_path}\0${file.version}\0${file.content_hash}`));
    for (let at = 0; at < 32; at++) sum[at]! ^= share[at]!;
  }
  return hex(sum);
}

/** Orders paths by their UTF-8 bytes, as the agent does; JavaScript's own order is by UTF-16 units. */
export function byBytes(a: string, b: string): number {
  const [left, right] = [text.encode(a), text.encode(b)];
  const common = Math.min(left.length, right.length);
  for (let at = 0; at < common; at++) {
    if (left[at] !== right[at]) return left[at]! - right[at]!;
  }
  return left.length - right.length;
}

/** The snapshot's id: sha256 of the listing in the order of the paths' bytes. */
export function snapshotId(sorted: Listed[]): Promise<string> {
  return sha256(sorted.map((f) => `${f.file_path}\0${f.version}\0${f.content_hash}\n`).join(""));
}
