import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId, TraceId } from '../model/ids.js';
import type { BlockId, TraceMetadata } from '../model/metadata.js';
import { MeridianError } from '../runtime/errors.js';
import { ByteReader, ByteWriter } from './bytes.js';
import { anyMetadata } from './metadata.arbitrary.js';
import { packRow, unpackRow } from './row-codec.js';

/** Numbers texts as a file's tables do. */
function table() {
  const texts: string[] = [];
  return {
    number: (text: string) => {
      if (!texts.includes(text)) texts.push(text);
      return texts.indexOf(text) + 1;
    },
    text: (number: number) => texts[number - 1],
  };
}

function roundTrip(metadata: TraceMetadata) {
  const [names, blocks] = [table(), table()];
  const value = packRow(metadata, metadata.blocks, { name: names.number, block: blocks.number });
  const unpack = (bytes: Buffer) =>
    unpackRow(metadata.traceId, metadata.region, bytes, { name: names.text, block: blocks.text });
  return { value, unpack };
}

const sample: TraceMetadata = {
  traceId: '5bd1e995c0ffee0000000000000000aa' as TraceId,
  region: 'us-east-1' as RegionId,
  startUnixNano: 1_763_699_735_123_456_789n,
  endUnixNano: 1_763_699_735_171_668_696n,
  root: { startUnixNano: 1_763_699_735_123_456_789n, service: 'gateway', operation: 'GET /' },
  coverage: [{ key: 0x0a0b0c, service: 'gateway', spanCount: 5, errorCount: 2 }],
  flags: 1,
  blocks: ['us-east-1/0/1/1' as BlockId],
};

describe('index row', () => {
  test('golden bytes of layout version 1', () => {
    expect(roundTrip(sample).value.toString('hex')).toBe('1879eb908a7bf3150ac3cffe16000102010c0b0a010b020101');
  });

  test('round trip of any metadata; any cut or byte too many is malformed', () => {
    fc.assert(
      fc.property(anyMetadata, (metadata) => {
        const { value, unpack } = roundTrip(metadata);
        expect(unpack(value)).toEqual(metadata);
        expect(() => unpack(Buffer.concat([value, Buffer.of(0, 0)]))).toThrow(MeridianError);
        expect(() => unpack(value.subarray(0, 7))).toThrow(MeridianError);
      }),
    );
  });
});

describe('varints', () => {
  const read = (bytes: number[], max = Number.MAX_SAFE_INTEGER) =>
    new ByteReader(Buffer.from(bytes), 'test').varint(max, 'n');
  const read64 = (bytes: number[]) => new ByteReader(Buffer.from(bytes), 'test').varint64('n');

  test('any count comes back', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }), fc.maxSafeNat(), (big, small) => {
        const out = new ByteWriter(1);
        out.varint64(big);
        out.varint(small);
        const reader = new ByteReader(out.finish(), 'test');
        expect([reader.varint64('big'), reader.varint(Number.MAX_SAFE_INTEGER, 'small')]).toEqual([big, small]);
        reader.end();
      }),
    );
  });

  test('at the limit and one past it', () => {
    expect(read([0xe8, 0x07], 1000)).toBe(1000);
    expect(() => read([0xe9, 0x07], 1000)).toThrow('beyond 1000');
    const most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    expect(read64([...most, 0x01])).toBe(0xffff_ffff_ffff_ffffn);
    expect(() => read64([...most, 0x02])).toThrow('beyond 64 bits');
    expect(() => read64([...most, 0x81, 0x01])).toThrow('beyond 64 bits');
    expect(read([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f])).toBe(Number.MAX_SAFE_INTEGER);
    expect(() => read([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01])).toThrow('beyond');
  });

  test('must be minimal and whole', () => {
    expect(() => read([0x80, 0x00])).toThrow('not minimal');
    expect(() => read64([0x80, 0x00])).toThrow('not minimal');
    expect(() => read([0x80])).toThrow('ends within');
    expect(() => read64([0x80])).toThrow('ends within');
  });
});
