import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import { packageRoot } from '../../global/runtime/package-root.js';
import {
  CURSOR_CHARACTERS_MAX,
  CURSOR_EMITTED_MAX,
  CURSOR_REGIONS_MAX,
  decodeCursor,
  encodeCursor,
  type SearchCursor,
} from './cursor.js';

const golden: SearchCursor = {
  queryHash: '0123456789abcdef',
  startUnixNanoMin: 1n,
  startUnixNanoMax: 0x7fff_ffff_ffff_ffffn,
  last: { startUnixNano: 1_795_176_000_000_000_001n, traceId: '4bf92f3577b34da6a3ce929d0e0e4736' as TraceId },
  regions: [
    { region: 'us-east-1' as RegionId, resume: { kind: 'done' } },
    { region: 'us-west-2' as RegionId, resume: { kind: 'beginning' } },
    {
      region: 'eu-west-1' as RegionId,
      resume: {
        kind: 'after',
        position: { startUnixNano: 1_795_176_000_000_000_009n, traceId: '0000000000000000a3ce929d0e0e4736' as TraceId },
      },
    },
  ],
  emitted: ['00112233aabb', 'ffeeddccbbaa'],
};

const hex = (bytes: number) =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((b) => Buffer.from(b).toString('hex'));
const u64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const position = fc.record({ startUnixNano: u64, traceId: hex(16).map((id) => id as TraceId) });
const cursor: fc.Arbitrary<SearchCursor> = fc.record({
  queryHash: hex(8),
  startUnixNanoMin: u64,
  startUnixNanoMax: u64,
  last: position,
  regions: fc.uniqueArray(
    fc.record({
      region: fc.stringMatching(/^[a-z0-9]{1,32}$/).map((name) => name as RegionId),
      resume: fc.oneof(
        fc.constant({ kind: 'done' as const }),
        fc.constant({ kind: 'beginning' as const }),
        position.map((p) => ({ kind: 'after' as const, position: p })),
      ),
    }),
    { maxLength: 12, selector: (r) => r.region },
  ),
  emitted: fc.array(hex(6), { maxLength: 20 }),
});

describe('cursor', () => {
  test('the golden file: what an older router handed out is still read, and written the same', () => {
    const text = readFileSync(join(packageRoot, 'router/search/golden/cursor-v1.txt'), 'utf8').trim();
    expect(encodeCursor(golden)).toBe(text);
    expect(decodeCursor(text)).toEqual(golden);
  });

  test('comes back as it went', () => {
    fc.assert(
      fc.property(cursor, (c) => {
        expect(decodeCursor(encodeCursor(c))).toEqual(c);
      }),
    );
  });

  test('an unknown version is a typed error', () => {
    const bytes = Buffer.from(encodeCursor(golden), 'base64url');
    bytes[0] = 2;
    expect(() => decodeCursor(bytes.toString('base64url'))).toThrow(
      expect.objectContaining({ code: 'unknown-version' }),
    );
  });

  test('the largest cursor fits its limit; one emitted trace or region more is refused', () => {
    const largest: SearchCursor = {
      ...golden,
      regions: Array.from({ length: CURSOR_REGIONS_MAX }, (_, i) => ({
        region: String(i).padStart(32, 'r') as RegionId,
        resume: { kind: 'after', position: golden.last },
      })),
      emitted: Array.from({ length: CURSOR_EMITTED_MAX }, () => '00112233aabb'),
    };
    const text = encodeCursor(largest);
    expect(text.length).toBeLessThanOrEqual(CURSOR_CHARACTERS_MAX);
    expect(decodeCursor(text)).toEqual(largest);
    expect(() => encodeCursor({ ...largest, emitted: [...largest.emitted, '00112233aabb'] })).toThrow();
    expect(() => encodeCursor({ ...largest, regions: [...largest.regions, largest.regions[0]!] })).toThrow();
    expect(() => decodeCursor('A'.repeat(CURSOR_CHARACTERS_MAX + 1))).toThrow(/longer than/);
  });

  test('no text throws anything but the typed error', () => {
    const bytes = Buffer.from(encodeCursor(golden), 'base64url');
    const damaged = fc.oneof(
      fc.string(),
      fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b).toString('base64url')),
      fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)).map(([at, value]) => {
        const copy = Buffer.from(bytes);
        copy[at] = value;
        return copy.toString('base64url');
      }),
      fc.nat(bytes.length).map((length) => bytes.subarray(0, length).toString('base64url')),
    );
    fc.assert(
      fc.property(damaged, (text) => {
        try {
          decodeCursor(text);
        } catch (error) {
          expect(error).toMatchObject({
            name: 'MeridianError',
            code: expect.stringMatching(/^(invalid|unknown-version)$/),
          });
        }
      }),
      { numRuns: 2000 },
    );
  });
});
