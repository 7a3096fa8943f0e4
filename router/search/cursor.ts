import { createHash } from 'node:crypto';
import { parseRegionId, type RegionId, type TraceId } from '../../global/model/ids.js';
import type { SearchPosition } from '../../global/model/query.js';
import { invariant, MeridianError } from '../../global/runtime/errors.js';

/**
 * Where a search goes on (decision 0003). Opaque to callers: base64url of
 *
 *   byte   version (1)
 *   8      hash of the conditions: a cursor only goes with the search that made it
 *   8 + 8  the window that was searched, first and last start (uint64 big-endian, as all below)
 *   8 + 16 rank of the last trace that was dealt with: start, trace id
 *   byte   regions, each: byte length and name; byte 0 done, 1 from the beginning, 2 after: 8 + 16 start, trace id
 *   uint16 emitted young traces, each: 6 bytes of a hash of the id
 *
 * Not signed: whoever forges one only asks for another place in an answer that they may see anyway.
 */
export interface SearchCursor {
  readonly queryHash: string;
  readonly startUnixNanoMin: bigint;
  readonly startUnixNanoMax: bigint;
  readonly last: SearchPosition;
  readonly regions: readonly { readonly region: RegionId; readonly resume: RegionResume }[];
  /** Hashes (12 hex characters) of emitted traces whose rank may still fall; oldest first. */
  readonly emitted: readonly string[];
}

/** Where a region's share of a search goes on. */
export type RegionResume =
  | { readonly kind: 'done' }
  | { readonly kind: 'beginning' }
  | { readonly kind: 'after'; readonly position: SearchPosition };

export const CURSOR_VERSION = 1;
export const CURSOR_REGIONS_MAX = 100;
export const CURSOR_EMITTED_MAX = 512;
/** No cursor that this build makes is longer. */
export const CURSOR_CHARACTERS_MAX = 12_288;

const HASH_BYTES = 8;
const EMITTED_BYTES = 6;
const U64_MAX = 0xffff_ffff_ffff_ffffn;

export function encodeCursor(cursor: SearchCursor): string {
  invariant(cursor.regions.length <= CURSOR_REGIONS_MAX, `a cursor over ${cursor.regions.length} regions`);
  invariant(cursor.emitted.length <= CURSOR_EMITTED_MAX, `a cursor with ${cursor.emitted.length} emitted traces`);
  const parts: Buffer[] = [
    Buffer.from([CURSOR_VERSION]),
    Buffer.from(cursor.queryHash, 'hex'),
    u64(cursor.startUnixNanoMin),
    u64(cursor.startUnixNanoMax),
    position(cursor.last),
    Buffer.from([cursor.regions.length]),
  ];
  for (const { region, resume } of cursor.regions) {
    const name = Buffer.from(region);
    parts.push(Buffer.from([name.length]), name);
    if (resume.kind === 'done') parts.push(Buffer.from([0]));
    else if (resume.kind === 'beginning') parts.push(Buffer.from([1]));
    else parts.push(Buffer.from([2]), position(resume.position));
  }
  const emittedCount = Buffer.alloc(2);
  emittedCount.writeUInt16BE(cursor.emitted.length);
  parts.push(emittedCount, ...cursor.emitted.map((hash) => Buffer.from(hash, 'hex')));
  return Buffer.concat(parts).toString('base64url');
}

/** Throws `unknown-version`, or `invalid` for anything that `encodeCursor` cannot have made. */
export function decodeCursor(text: string): SearchCursor {
  if (text.length > CURSOR_CHARACTERS_MAX) throw badCursor(`longer than ${CURSOR_CHARACTERS_MAX} characters`);
  if (!/^[A-Za-z0-9_-]+$/.test(text)) throw badCursor('not base64url');
  const reader = new CursorReader(Buffer.from(text, 'base64url'));
  const version = reader.byte();
  if (version !== CURSOR_VERSION) {
    throw new MeridianError('unknown-version', `cursor: version ${version} is not known to this router`, 'never');
  }
  const queryHash = reader.hex(HASH_BYTES);
  const startUnixNanoMin = reader.u64();
  const startUnixNanoMax = reader.u64();
  const last = reader.position();
  const regions: { region: RegionId; resume: RegionResume }[] = [];
  const regionCount = reader.byte();
  if (regionCount > CURSOR_REGIONS_MAX) throw badCursor(`more than ${CURSOR_REGIONS_MAX} regions`);
  for (let i = 0; i < regionCount; i++) {
    const region = parseRegionId(reader.text(reader.byte()));
    if (!region || regions.some((r) => r.region === region)) throw badCursor('a region name that is none, or twice');
    regions.push({ region, resume: reader.resume() });
  }
  const emittedCount = reader.u16();
  if (emittedCount > CURSOR_EMITTED_MAX) throw badCursor(`more than ${CURSOR_EMITTED_MAX} emitted traces`);
  const emitted = Array.from({ length: emittedCount }, () => reader.hex(EMITTED_BYTES));
  reader.end();
  return { queryHash, startUnixNanoMin, startUnixNanoMax, last, regions, emitted };
}

/** The hash by which a cursor remembers an emitted trace. */
export function emittedHash(traceId: TraceId): string {
  return createHash('sha256')
    .update(traceId)
    .digest('hex')
    .slice(0, EMITTED_BYTES * 2);
}

/** The hash of a search's conditions, from their canonical text. */
export function conditionsHash(canonical: string): string {
  return createHash('sha256')
    .update(canonical)
    .digest('hex')
    .slice(0, HASH_BYTES * 2);
}

function badCursor(what: string): MeridianError {
  return new MeridianError('invalid', `cursor: ${what}; use a nextCursor unchanged, with the same conditions`, 'never');
}

function u64(value: bigint): Buffer {
  invariant(value >= 0n && value <= U64_MAX, `a cursor with time ${value}`);
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

function position({ startUnixNano, traceId }: SearchPosition): Buffer {
  return Buffer.concat([u64(startUnixNano), Buffer.from(traceId, 'hex')]);
}

class CursorReader {
  #at = 0;

  constructor(private readonly bytes: Buffer) {}

  byte(): number {
    return this.#take(1)[0]!;
  }

  u16(): number {
    return this.#take(2).readUInt16BE();
  }

  u64(): bigint {
    return this.#take(8).readBigUInt64BE();
  }

  hex(length: number): string {
    return this.#take(length).toString('hex');
  }

  text(length: number): string {
    return this.#take(length).toString('latin1');
  }

  position(): SearchPosition {
    return { startUnixNano: this.u64(), traceId: this.hex(16) as TraceId };
  }

  resume(): RegionResume {
    switch (this.byte()) {
      case 0:
        return { kind: 'done' };
      case 1:
        return { kind: 'beginning' };
      case 2:
        return { kind: 'after', position: this.position() };
      default:
        throw badCursor('malformed');
    }
  }

  end(): void {
    if (this.#at !== this.bytes.length) throw badCursor('bytes after its end');
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.bytes.length) throw badCursor('cut off');
    const bytes = this.bytes.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }
}
