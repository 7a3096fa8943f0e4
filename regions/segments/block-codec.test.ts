import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { packageRoot } from '../../global/runtime/package-root.js';
import { BLOCK_LIMITS, decodeBlock, encodeBlock, readEncodedBlock } from './block-codec.js';
import { blockNumbers, formatBlockId, parseBlockId } from './block-id.js';
import { type Block, CLOSE_REASONS, type Segment } from './segment.js';
import { deflateFrame, inflateFrame } from './zstd-frame.js';

const source = 'eu-west-1' as RegionId;
const GOLDEN = join(packageRoot, 'regions/segments/golden/block-v1.hex');

function metadata(over: Partial<TraceMetadata> = {}): TraceMetadata {
  return {
    traceId: '0102030405060708090a0b0c0d0e0f10' as TraceId,
    region: source,
    startUnixNano: 1_700_000_000_000_000_000n,
    endUnixNano: 1_700_000_000_250_000_000n,
    root: { startUnixNano: 1_700_000_000_000_000_000n, service: 'gateway', operation: 'GET /' },
    coverage: [{ key: 7, service: 'gateway', spanCount: 3, errorCount: 1 }],
    flags: 1,
    blocks: [],
    ...over,
  };
}

function segment(over: Partial<Segment> = {}): Segment {
  return {
    metadata: metadata(),
    payload: Buffer.from('the bytes of some spans'),
    closeReason: 'root-settled',
    receivedFirstMs: 1_700_000_000_300,
    receivedLastMs: 1_700_000_000_900,
    ...over,
  };
}

function block(segments: readonly Segment[]): Block {
  return { id: formatBlockId({ source, partition: 3, firstOffset: 41, number: 77 }), source, segments };
}

const u64 = fc.bigInt(0n, (1n << 64n) - 1n);
const name = fc.string({ maxLength: 20, unit: 'grapheme' });
const segments = fc.record({
  metadata: fc
    .record({
      traceId: fc
        .uint8Array({ minLength: 16, maxLength: 16 })
        .filter((id) => id.some((byte) => byte > 0))
        .map((id) => Buffer.from(id).toString('hex') as TraceId),
      startUnixNano: u64,
      endUnixNano: u64,
      root: fc.option(fc.record({ startUnixNano: u64, service: name, operation: name })),
      flags: fc.integer({ min: 0, max: 7 }),
      coverage: fc
        .uniqueArray(
          fc.record({
            key: fc.integer({ min: 0, max: 0xffffff }),
            service: name,
            spanCount: fc.integer({ min: 3, max: 1000 }),
            errorCount: fc.integer({ min: 0, max: 3 }),
          }),
          { maxLength: 5, selector: ({ key }) => key },
        )
        .map((entries) => entries.sort((a, b) => a.key - b.key)),
    })
    .map((some): TraceMetadata => metadata(some)),
  payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  closeReason: fc.constantFrom(...CLOSE_REASONS),
  receivedFirstMs: fc.integer({ min: 0, max: 2 ** 42 }),
  receivedLastMs: fc.integer({ min: 0, max: 1000 }),
});

describe('block codec', () => {
  test('gives back what it was given', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(segments, { minLength: 1, maxLength: 8 }), async (some) => {
        const all = some.map((s) => ({ ...s, receivedLastMs: s.receivedFirstMs + s.receivedLastMs }));
        const encoded = await encodeBlock(block(all));
        expect(readEncodedBlock(Buffer.from(encoded.bytes))).toEqual(encoded);
        const decoded = await decodeBlock(readEncodedBlock(encoded.bytes));
        expect(decoded).toEqual(block(all));
        const starts = all.map((s) => s.metadata.startUnixNano);
        expect(starts.every((start) => start >= encoded.startUnixNanoMin && start <= encoded.startUnixNanoMax)).toBe(
          true,
        );
        expect(starts).toContain(encoded.startUnixNanoMin);
        expect(starts).toContain(encoded.startUnixNanoMax);
        expect(all.every((s) => s.metadata.endUnixNano <= encoded.endUnixNanoMax)).toBe(true);
        expect(encoded.spanCount).toBe(
          all.flatMap((s) => s.metadata.coverage).reduce((sum, entry) => sum + entry.spanCount, 0),
        );
      }),
      { numRuns: 60 },
    );
  });

  test('forgets the blocks that metadata name: a segment knows its block from where it stands', async () => {
    const id = formatBlockId({ source, partition: 0, firstOffset: 1, number: 2 });
    const { bytes } = await encodeBlock(block([segment({ metadata: metadata({ blocks: [id] }) })]));
    const { segments: decoded } = await decodeBlock(readEncodedBlock(bytes));
    expect(decoded[0]!.metadata.blocks).toEqual([]);
  });

  test('reads the bytes of version 1', async () => {
    const golden = Buffer.from(readFileSync(GOLDEN, 'utf8').replace(/\s/g, ''), 'hex');
    const expected = block([
      segment(),
      segment({
        metadata: metadata({ traceId: 'ff02030405060708090a0b0c0d0e0f10' as TraceId, root: null }),
        closeReason: 'idle',
      }),
    ]);
    expect(await decodeBlock(readEncodedBlock(golden))).toEqual(expected);
    // Up to the checksum the bytes are determined; the frame may change with the version of the compressor.
    const { bytes } = await encodeBlock(expected);
    const headBytes = 2 + 1 + expected.id.length + 1 + 1 + 24 + 2;
    expect(bytes.subarray(0, headBytes).toString('hex')).toBe(golden.subarray(0, headBytes).toString('hex'));
  });

  test('refuses another version', async () => {
    const { bytes } = await encodeBlock(block([segment()]));
    bytes[0] = 2;
    expect(() => readEncodedBlock(bytes)).toThrow(expect.objectContaining({ code: 'unknown-version', retry: 'never' }));
  });

  test('holds the limit on segments', async () => {
    const small = segment({ payload: Buffer.alloc(0) });
    const full = await encodeBlock(block(new Array<Segment>(BLOCK_LIMITS.segmentsMax).fill(small)));
    expect((await decodeBlock(full)).segments).toHaveLength(BLOCK_LIMITS.segmentsMax);
    await expect(
      encodeBlock(block(new Array<Segment>(BLOCK_LIMITS.segmentsMax + 1).fill(small))),
    ).rejects.toMatchObject({ code: 'too-large' });
  });

  test('refuses a bomb by its head', async () => {
    const frame = await deflateFrame(Buffer.alloc(10));
    const { bytes } = await encodeBlock(block([segment({ payload: Buffer.alloc(1000) })]));
    const at = bytes.indexOf(frame.subarray(0, 4));
    const head = bytes.subarray(0, at);
    // The announced size is the varint of two bytes before the checksum.
    const bomb = Buffer.concat([
      head.subarray(0, at - 6),
      varint(BLOCK_LIMITS.inflatedBytesMax + 1),
      head.subarray(at - 4),
      bytes.subarray(at),
    ]);
    await expect(decodeBlock(readEncodedBlock(bomb))).rejects.toMatchObject({ code: 'too-large' });
  });

  test('throws nothing but its typed errors, whatever the bytes', async () => {
    const { bytes } = await encodeBlock(block([segment(), segment({ closeReason: 'age' })]));
    const mutated = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((some) => Buffer.from(some)),
      fc.integer({ min: 0, max: bytes.length }).map((length) => bytes.subarray(0, length)),
      fc
        .array(fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 4 })
        .map((changes) => {
          const copy = Buffer.from(bytes);
          for (const [at, by] of changes) copy[at]! ^= by;
          return copy;
        }),
    );
    await fc.assert(
      fc.asyncProperty(mutated, async (some) => {
        try {
          await decodeBlock(readEncodedBlock(some));
        } catch (error) {
          expect(error).toBeInstanceOf(MeridianError);
        }
      }),
      { numRuns: 400 },
    );
  });
});

describe('zstd frame', () => {
  const content = Buffer.from('abcabcabc'.repeat(50_000));

  test('gives back what it was given', async () => {
    expect((await inflateFrame(await deflateFrame(content), content.length, 'test')).equals(content)).toBe(true);
    expect(await inflateFrame(await deflateFrame(Buffer.from([7])), 1, 'test')).toEqual(Buffer.from([7]));
  });

  test('refuses what says or holds another size than announced', async () => {
    const frame = await deflateFrame(content);
    await expect(inflateFrame(frame, content.length - 1, 'test')).rejects.toMatchObject({ code: 'malformed' });
    const less = Buffer.from(frame);
    less.writeUInt32LE(content.length - 1, 6);
    await expect(inflateFrame(less, content.length - 1, 'test')).rejects.toMatchObject({ code: 'malformed' });
    const more = Buffer.from(frame);
    more.writeUInt32LE(content.length + 1, 6);
    await expect(inflateFrame(more, content.length + 1, 'test')).rejects.toMatchObject({ code: 'malformed' });
  });

  test('refuses a second frame, and bytes behind the first', async () => {
    const frame = await deflateFrame(content);
    for (const tail of [frame, Buffer.from([0])]) {
      await expect(inflateFrame(Buffer.concat([frame, tail]), content.length, 'test')).rejects.toThrow(/bytes after/);
    }
  });

  test('refuses runs that would inflate beyond what is announced', async () => {
    const head = (await deflateFrame(Buffer.alloc(100))).subarray(0, 10);
    const run = Buffer.from([(1 << 1) | ((131072 << 3) & 0xff), (131072 >> 5) & 0xff, (131072 >> 13) & 0xff, 0x41]);
    const last = Buffer.from(run);
    last[0]! |= 1;
    const bomb = Buffer.concat([head, ...new Array<Buffer>(50_000).fill(run), last]);
    await expect(inflateFrame(bomb, 100, 'test')).rejects.toMatchObject({ code: 'malformed' });
  });
});

describe('block ids', () => {
  test('are read back', () => {
    const parts = { source, partition: 12, firstOffset: 2 ** 52, number: 5 };
    expect(parseBlockId(formatBlockId(parts))).toEqual(parts);
  });

  test.each(['', 'a/1/2', 'a/1/2/3/4', 'A/1/2/3', 'a/01/2/3', 'a/-1/2/3', 'a/1/2/9999999999999999', 'a/1/2/x'])(
    '%s is none',
    (text) => {
      expect(parseBlockId(text)).toBeNull();
    },
  );

  test('are never given twice, in one start or the next', () => {
    const first = blockNumbers(1_795_000_000_000);
    const numbers = Array.from({ length: 4096 }, () => first());
    expect(new Set(numbers).size).toBe(4096);
    expect(blockNumbers(1_795_000_000_001)()).toBeGreaterThan(numbers.at(-1)!);
    expect(Number.isSafeInteger(blockNumbers(Date.UTC(2080, 0, 1))())).toBe(true);
  });
});

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}
