import { deflateRawSync } from "node:zlib";

/** One entry, compressed whole: its sizes and checksum stand before its bytes, so that any reader can go forwards. */
export interface Entry {
  name: Uint8Array;
  method: 0 | 8;
  crc: number;
  size: number;
  data: Uint8Array;
}

const CRC_TABLE = new Uint32Array(256).map((_, at) => {
  let crc = at;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc;
});

/** Zip's checksum. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let at = 0; at < bytes.length; at++) crc = CRC_TABLE[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Level 1: a fifth of level 6's time for half as much again in bytes. Stored where that would not be smaller. */
export function entry(path: string, bytes: Uint8Array): Entry {
  const packed = deflateRawSync(bytes, { level: 1 });
  const smaller = packed.byteLength < bytes.byteLength;
  return {
    name: new TextEncoder().encode(path),
    method: smaller ? 8 : 0,
    crc: crc32(bytes),
    size: bytes.byteLength,
    // A copy of its own size: the compressor hands out a view of a larger buffer.
    data: new Uint8Array(smaller ? packed : bytes),
  };
}

/** Bytes that an entry takes in the zip, its place in the directory included. */
export function entrySize(entry: Entry): number {
  return 30 + 46 + 2 * entry.name.length + entry.data.length;
}

/** Bytes of the end record. */
export const END_SIZE = 22;
/** Zip counts entries in 16 bits; 65,535 means zip64, which no project needs. */
export const MAX_ENTRIES = 65_534;

/** The zip in pieces that are sent one after the other. */
export function* zipPieces(entries: Entry[]): Generator<Uint8Array> {
  if (entries.length > MAX_ENTRIES) {
    throw new RangeError(`${entries.length} entries are more than a zip without zip64 holds`);
  }
  const directory: Uint8Array[] = [];
  let offset = 0;
  for (const made of entries) {
    const local = new Uint8Array(30 + made.name.length);
    const head = new DataView(local.buffer);
    head.setUint32(0, 0x04034b50, true);
    common(head, 4, made);
    local.set(made.name, 30);
    yield local;
    yield made.data;

    const listed = new Uint8Array(46 + made.name.length);
    const view = new DataView(listed.buffer);
    view.setUint32(0, 0x02014b50, true);
    view.setUint16(4, (3 << 8) | 20, true); // made by Unix
    common(view, 6, made);
    view.setUint32(38, 0o100644 << 16, true); // a regular file
    view.setUint32(42, offset, true);
    listed.set(made.name, 46);
    directory.push(listed);
    offset += local.length + made.data.length;
  }
  yield* directory;
  const end = new DataView(new ArrayBuffer(END_SIZE));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, entries.length, true);
  end.setUint16(10, entries.length, true);
  end.setUint32(12, directory.reduce((sum, piece) => sum + piece.length, 0), true);
  end.setUint32(16, offset, true);
  yield new Uint8Array(end.buffer);
}

/** What a local header and the directory have in common: version, flags, method, time, checksum, sizes, length of the name. */
function common(view: DataView, at: number, made: Entry): void {
  view.setUint16(at, 20, true);
  view.setUint16(at + 2, 1 << 11, true); // names are UTF-8
  view.setUint16(at + 4, made.method, true);
  view.setUint16(at + 8, (1 << 5) | 1, true); // 1980-01-01 00:00
  view.setUint32(at + 10, made.crc, true);
  view.setUint32(at + 14, made.data.length, true);
  view.setUint32(at + 18, made.size, true);
  view.setUint16(at + 22, made.name.length, true);
}
