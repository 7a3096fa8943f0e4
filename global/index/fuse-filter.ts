import { MeridianError } from '../runtime/errors.js';

/**
 * A 4-wise binary fuse filter with fingerprints of 8 bits: a set that answers "not in it" (always right) or "perhaps in it" (wrong once in 256
 * questions). After Graf and Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor Filters" (ACM JEA 27, 2022), from whom the
 * sizes are; hashes are of 32 bits, as JavaScript counts them.
 *
 * Each key has four cells, one in each of four neighbouring segments; the xor of their bytes is the key's fingerprint.
 *
 * Bytes, version 1, big-endian:
 *   u8  version
 *   u8  seed (number of the attempt that succeeded)
 *   u8  log2 of a segment's length
 *   u8  0
 *   u32 number of segments in which a key's first cell may lie; three more follow
 *   the cells: (segments + 3) * length bytes
 */
export const FUSE_VERSION = 1;
export const FUSE_HEADER_BYTES = 8;
/** Seeds that are tried. From 10,000 keys on the first one practically always does; of tiny filters one in ten needs another. */
export const FUSE_ATTEMPTS_MAX = 16;
/** Keys in one filter: construction takes about 25 bytes a key. */
export const FUSE_KEYS_MAX = 1_000_000;
export const FUSE_CELLS = 4;
const SEGMENT_BITS_MIN = 2;
const SEGMENT_BITS_MAX = 16;
/** Far beyond what FUSE_KEYS_MAX needs. */
const CELLS_MAX = 1 << 24;

/** Sizes of a filter; both sides of a stored filter need the same. */
export interface FuseShape {
  readonly segmentBits: number;
  /** In which first cells may lie. */
  readonly segments: number;
}

/** Keys of 64 bits as two halves each, side by side. */
export interface FuseKeys {
  readonly high: Uint32Array;
  readonly low: Uint32Array;
  readonly count: number;
}

/** The shape for so many keys (1 to FUSE_KEYS_MAX). */
export function fuseShape(keys: number): FuseShape {
  const n = Math.max(2, keys);
  const log = Math.log(n);
  const segmentBits = Math.min(SEGMENT_BITS_MAX, Math.max(SEGMENT_BITS_MIN, Math.floor(log / Math.log(2.91) - 0.5)));
  const cells = Math.ceil(n * Math.max(1.075, 0.77 + (0.305 * Math.log(600_000)) / log));
  const segments = Math.ceil(cells / 2 ** segmentBits) - (FUSE_CELLS - 1);
  return { segmentBits, segments: Math.max(1, segments) };
}

/** Bytes of a filter of the shape. */
export function fuseBytes({ segmentBits, segments }: FuseShape): number {
  return FUSE_HEADER_BYTES + (segments + FUSE_CELLS - 1) * 2 ** segmentBits;
}

/** Where a key is looked for, and what the xor of what stands there must be. */
export interface FusePlaces {
  /** From the beginning of the filter's bytes, header included. */
  readonly offsets: readonly [number, number, number, number];
  readonly fingerprint: number;
}

/** The places of a key under a seed. */
export function fusePlaces({ segmentBits, segments }: FuseShape, seed: number, high: number, low: number): FusePlaces {
  const [x, y, z] = mixed(high, low, seed);
  const length = 2 ** segmentBits;
  const mask = length - 1;
  const first = Math.floor((x * (segments * length)) / 2 ** 32);
  return {
    offsets: [
      FUSE_HEADER_BYTES + first,
      FUSE_HEADER_BYTES + ((first + length) ^ (y & mask)),
      FUSE_HEADER_BYTES + ((first + 2 * length) ^ ((y >>> 16) & mask)),
      FUSE_HEADER_BYTES + ((first + 3 * length) ^ (z & mask)),
    ],
    fingerprint: z >>> 24,
  };
}

/** Three words of a key: the first two are a permutation of it, so that keys which differ stay different under every seed. */
function mixed(high: number, low: number, seed: number): [number, number, number] {
  const salt = Math.imul(seed + 1, 0x9e3779b1);
  const b = low ^ fmix(high ^ salt);
  const a = high ^ fmix(b ^ (salt >>> 1));
  const y = (b ^ fmix(a + salt)) >>> 0;
  const x = a >>> 0;
  return [x, y, fmix(Math.imul(x, 0x85ebca77) ^ y) >>> 0];
}

/** The last step of murmur3 (Austin Appleby, public domain). */
function fmix(value: number): number {
  let h = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/**
 * The bytes of a filter of the keys, which may repeat; the caller owns them. Of a given shape where one is given (it must be one for at least as many keys).
 * Null where no seed does, which happens only where the shape is too small. Throws `too-large` beyond FUSE_KEYS_MAX.
 */
export function buildFuseFilter(keys: FuseKeys, shape: FuseShape = fuseShape(keys.count)): Buffer | null {
  if (keys.count > FUSE_KEYS_MAX) {
    throw new MeridianError('too-large', `fuse filter: ${keys.count} keys are beyond ${FUSE_KEYS_MAX}`, 'never');
  }
  let own = keys;
  for (let seed = 0; seed < FUSE_ATTEMPTS_MAX; seed++) {
    let cells = assigned(own, shape, seed);
    if (!cells && own === keys) {
      // A key that is there twice can never be peeled off.
      own = withoutRepeats(keys);
      if (own.count < keys.count) cells = assigned(own, shape, seed);
    }
    if (!cells) continue;
    const header = Buffer.alloc(FUSE_HEADER_BYTES);
    header[0] = FUSE_VERSION;
    header[1] = seed;
    header[2] = shape.segmentBits;
    header.writeUInt32BE(shape.segments, 4);
    return Buffer.concat([header, cells]);
  }
  return null;
}

function withoutRepeats({ high, low, count }: FuseKeys): FuseKeys {
  const whole = new BigUint64Array(count);
  for (let i = 0; i < count; i++) whole[i] = (BigInt(high[i]!) << 32n) | BigInt(low[i]!);
  whole.sort();
  const once = { high: new Uint32Array(count), low: new Uint32Array(count), count: 0 };
  for (let i = 0; i < count; i++) {
    if (i > 0 && whole[i] === whole[i - 1]) continue;
    once.high[once.count] = Number(whole[i]! >> 32n);
    once.low[once.count++] = Number(whole[i]! & 0xffff_ffffn);
  }
  return once;
}

/**
 * The cells, or null. Peels: a cell that only one key still uses is that key's own, the key is taken away, and so on until none is left; then
 * keys are written in the opposite order, each into its own cell.
 */
function assigned({ high, low, count }: FuseKeys, shape: FuseShape, seed: number): Uint8Array | null {
  const cellCount = fuseBytes(shape) - FUSE_HEADER_BYTES;
  const users = new Int32Array(cellCount);
  // The xor of the numbers of the keys that use a cell: of a single one, its number.
  const userXor = new Int32Array(cellCount);
  for (let key = 0; key < count; key++) {
    for (const offset of fusePlaces(shape, seed, high[key]!, low[key]!).offsets) {
      users[offset - FUSE_HEADER_BYTES]!++;
      userXor[offset - FUSE_HEADER_BYTES]! ^= key;
    }
  }
  const single = new Int32Array(cellCount + FUSE_CELLS);
  let waiting = 0;
  for (let cell = 0; cell < cellCount; cell++) if (users[cell] === 1) single[waiting++] = cell;
  const peeled = new Int32Array(count);
  const ownCell = new Int32Array(count);
  let taken = 0;
  while (waiting > 0) {
    const cell = single[--waiting]!;
    if (users[cell] !== 1) continue;
    const key = userXor[cell]!;
    peeled[taken] = key;
    ownCell[taken++] = cell;
    for (const offset of fusePlaces(shape, seed, high[key]!, low[key]!).offsets) {
      const used = offset - FUSE_HEADER_BYTES;
      userXor[used]! ^= key;
      if (--users[used]! === 1) single[waiting++] = used;
    }
  }
  if (taken < count) return null;
  const cells = new Uint8Array(cellCount);
  for (let i = count - 1; i >= 0; i--) {
    const key = peeled[i]!;
    const { offsets, fingerprint } = fusePlaces(shape, seed, high[key]!, low[key]!);
    // The own cell is still 0.
    let byte = fingerprint;
    for (const offset of offsets) byte ^= cells[offset - FUSE_HEADER_BYTES]!;
    cells[ownCell[i]!] = byte;
  }
  return cells;
}

/** What a filter's first eight bytes say. Throws `unknown-version` or `malformed`. */
export function parseFuseHeader(bytes: Buffer): FuseShape & { readonly seed: number } {
  if (bytes.length < FUSE_HEADER_BYTES) throw malformed(`${bytes.length} bytes are no header`);
  const [version, seed, segmentBits, zero] = bytes as unknown as [number, number, number, number];
  if (version !== FUSE_VERSION) {
    throw new MeridianError(
      'unknown-version',
      `fuse filter: version ${version}, this build knows ${FUSE_VERSION}`,
      'never',
    );
  }
  const segments = bytes.readUInt32BE(4);
  if (seed >= FUSE_ATTEMPTS_MAX) throw malformed(`seed ${seed}`);
  if (segmentBits < SEGMENT_BITS_MIN || segmentBits > SEGMENT_BITS_MAX || zero !== 0) {
    throw malformed(`segments of 2^${segmentBits}`);
  }
  if (segments < 1 || (segments + FUSE_CELLS - 1) * 2 ** segmentBits > CELLS_MAX)
    throw malformed(`${segments} segments`);
  return { seed, segmentBits, segments };
}

function malformed(what: string): MeridianError {
  return new MeridianError('malformed', `fuse filter: ${what}`, 'never');
}

/** A filter that was read back. Borrows the bytes. */
export class FuseFilter {
  readonly shape: FuseShape & { readonly seed: number };

  /** Throws `unknown-version`, or `malformed` where the bytes are not as long as their header says. */
  constructor(private readonly bytes: Buffer) {
    this.shape = parseFuseHeader(bytes);
    const wanted = fuseBytes(this.shape);
    if (bytes.length !== wanted) throw malformed(`${bytes.length} bytes, its header says ${wanted}`);
  }

  /** False: the key is not among those it was built of. */
  mayHave(high: number, low: number): boolean {
    const { offsets, fingerprint } = fusePlaces(this.shape, this.shape.seed, high, low);
    let byte = fingerprint;
    for (const offset of offsets) byte ^= this.bytes[offset]!;
    return byte === 0;
  }
}
