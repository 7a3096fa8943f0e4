import fc from 'fast-check';
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { ProtoReader } from './proto-reader.js';
import { ProtoWriter, varintBytes } from './proto-writer.js';
import { meridianErrorOf } from './testing/official-otlp.js';

const { Writer } = protobuf;

function written(write: (writer: ProtoWriter) => void, initialBytes = 16): Buffer {
  const writer = new ProtoWriter(initialBytes);
  write(writer);
  return Buffer.from(writer.finish());
}

describe('fields', () => {
  test('are the bytes that protobufjs writes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 536_870_911 }),
        fc.maxSafeNat(),
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.double(),
        fc.nat({ max: 0xffff_ffff }),
        fc.string({ unit: 'binary' }),
        fc.uint8Array({ maxLength: 300 }),
        (field, uint, int64, double, fixed32, text, bytes) => {
          const official = Writer.create();
          const tag = (wire: number) => official.uint32(((field << 3) | wire) >>> 0);
          const long = (value: bigint) => String(value);
          tag(0).uint64(uint);
          tag(0).int64(long(int64));
          tag(1).fixed64(long(BigInt.asIntN(64, int64)));
          tag(1).double(double);
          tag(5).fixed32(fixed32);
          tag(2).string(text);
          tag(2).bytes(bytes);
          const ours = written((writer) => {
            writer.uintField(field, uint);
            writer.int64Field(field, int64);
            writer.fixed64Field(field, BigInt.asUintN(64, int64));
            writer.doubleField(field, double);
            writer.fixed32Field(field, fixed32);
            writer.stringField(field, text);
            writer.bytesField(field, bytes);
          });
          expect(ours.toString('hex')).toBe(Buffer.from(official.finish()).toString('hex'));
        },
      ),
    );
  });

  test('come back from the reader, 64-bit extremes included', () => {
    for (const value of [
      0n,
      1n,
      -1n,
      2n ** 53n - 1n,
      2n ** 53n,
      -(2n ** 53n),
      1n - 2n ** 53n,
      2n ** 63n - 1n,
      -(2n ** 63n),
    ]) {
      const reader = new ProtoReader(written((writer) => writer.int64Field(3, value)));
      expect(reader.next(reader.buffer.length)).toBe(true);
      const read = reader.int64(reader.buffer.length);
      expect(BigInt(read)).toBe(value);
      expect(typeof read).toBe(value > 2n ** 53n - 1n || value < 1n - 2n ** 53n ? 'bigint' : 'number');
    }
  });

  test('an int64 given as a number equals the bigint', () => {
    for (const value of [0, 127, 128, 2 ** 31, 2 ** 53 - 1, -1, -(2 ** 53)]) {
      expect(written((writer) => writer.int64Field(3, value))).toEqual(
        written((writer) => writer.int64Field(3, BigInt(value))),
      );
    }
  });

  test('text of every length, also where each character takes three bytes', () => {
    for (const length of [0, 1, 23, 24, 42, 43, 127, 128, 1023, 1024, 5461, 5462, 16_384, 70_000]) {
      for (const unit of ['a', 'ü', '€', '😀']) {
        const text = unit.repeat(length);
        const official = Buffer.from(Writer.create().uint32(10).string(text).finish());
        expect(written((writer) => writer.stringField(1, text)).equals(official)).toBe(true);
      }
    }
  });

  test('a lone surrogate becomes U+FFFD', () => {
    expect(written((writer) => writer.stringField(1, 'a\ud800b')).toString('utf8', 2)).toBe('a\ufffdb');
  });
});

describe('nested messages', () => {
  test('get lengths of one, two, three and four bytes', () => {
    for (const bytes of [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152]) {
      const content = Buffer.alloc(bytes, 'x');
      const ours = written((writer) => {
        const outer = writer.begin(1);
        const inner = writer.begin(2);
        writer.raw(content);
        writer.end(inner);
        writer.end(outer);
      });
      const inner = Buffer.from(Writer.create().uint32(18).bytes(content).finish());
      expect(ours.equals(Buffer.from(Writer.create().uint32(10).bytes(inner).finish()))).toBe(true);
      expect(varintBytes(bytes)).toBe(Writer.create().uint32(bytes).finish().length);
    }
  });

  test('rollback leaves out what came after the mark', () => {
    const ours = written((writer) => {
      const outer = writer.begin(1);
      writer.stringField(1, 'kept');
      const mark = writer.length;
      const inner = writer.begin(2);
      writer.stringField(1, 'left out'.repeat(100));
      writer.end(inner);
      writer.rollback(mark);
      writer.end(outer);
    });
    expect(ours.toString('hex')).toBe('0a060a046b657074');
  });
});

describe('the bound', () => {
  test('holds at the limit and not one byte past it', () => {
    const fill = (bytes: number): Buffer => {
      const writer = new ProtoWriter(16, 64);
      writer.raw(Buffer.alloc(bytes));
      return writer.finish();
    };
    expect(fill(64)).toHaveLength(64);
    expect(meridianErrorOf(() => fill(65))?.code).toBe('too-large');
  });

  test('also stops a writer that goes on and on', () => {
    const writer = new ProtoWriter(16, 1000);
    const error = meridianErrorOf(() => {
      for (;;) writer.stringField(1, 'more and more');
    });
    expect(error?.code).toBe('too-large');
    expect(writer.length).toBeLessThan(3000);
  });
});
