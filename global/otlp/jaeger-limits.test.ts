import { describe, expect, test } from 'vitest';
import { LIMITS } from '../model/limits.js';
import { JAEGER_TAGS_PER_LIST_MAX } from './jaeger-model.js';
import { readJaegerThrift } from './jaeger-thrift.js';
import { readSpanViews, type SpanView } from './span-view.js';
import { meridianErrorOf } from './testing/official-otlp.js';
import { batchOf, PROTOCOLS, SPAN, type TestSpan, type TestTag, thriftBatch } from './testing/thrift-batch.js';

/** The span as both protocols give it. */
function converted(span: Partial<TestSpan>): SpanView {
  const [binary, compact] = PROTOCOLS.map((protocol) => readJaegerThrift(thriftBatch(protocol, batchOf(span))));
  expect(binary!.rejected).toEqual([]);
  expect(compact!.tracesData.toString('hex')).toBe(binary!.tracesData.toString('hex'));
  return readSpanViews(binary!.tracesData)[0]!;
}

describe('what can not be a span is left out and named', () => {
  const tags = (count: number): TestTag[] =>
    Array.from({ length: count }, (_, index) => ({ key: String(index), value: 'v' }));
  const logs = (count: number) => Array.from({ length: count }, () => ({ timestamp: 1n, fields: [] }));
  const references = (count: number) =>
    Array.from({ length: count }, () => ({ refType: 1, traceIdLow: 1n, traceIdHigh: 1n, spanId: 1n }));

  test.each<[string, Partial<TestSpan>]>([
    ['a zero trace id', { traceIdLow: 0n, traceIdHigh: 0n }],
    ['a zero span id', { spanId: 0n }],
    ['a negative start', { startTime: -1n }],
    ['a start beyond 64 bits of nanoseconds', { startTime: 18_446_744_073_709_552n }],
    ['an end beyond 64 bits of nanoseconds', { startTime: 18_446_744_073_709_551n, duration: 1n }],
    ['a negative log time', { logs: [{ timestamp: -1n, fields: [] }] }],
    ['too many tags', { tags: tags(JAEGER_TAGS_PER_LIST_MAX + 1) }],
    ['too many logs', { logs: logs(LIMITS.eventsPerSpanMax + 1) }],
    ['too many references', { references: references(LIMITS.linksPerSpanMax + 1) }],
    ['too many fields in all', { logs: Array.from({ length: 65 }, () => ({ timestamp: 1n, fields: tags(1009) })) }],
  ])('%s', (_, span) => {
    for (const protocol of PROTOCOLS) {
      const { tracesData, rejected, spanCount } = readJaegerThrift(
        thriftBatch(protocol, batchOf({}, span, { operationName: 'last' })),
      );
      expect([spanCount, rejected.map(({ index, code }) => [index, code])]).toEqual([2, [[1, 'invalid']]]);
      expect(readSpanViews(tracesData).map(({ name }) => name)).toEqual(['op', 'last']);
    }
  });

  test('at these limits it is kept', () => {
    const span = converted({
      tags: tags(JAEGER_TAGS_PER_LIST_MAX),
      logs: logs(LIMITS.eventsPerSpanMax),
      references: references(LIMITS.linksPerSpanMax),
    });
    expect([span.attributes.length, span.events.length, span.links.length]).toEqual([
      JAEGER_TAGS_PER_LIST_MAX,
      LIMITS.eventsPerSpanMax,
      LIMITS.linksPerSpanMax,
    ]);
  });
});

describe('what can not be a batch is refused', () => {
  test.each<[string, 'binary' | 'compact', string]>([
    ['no field', 'binary', '00'],
    ['a list that lies', 'binary', '0f00020c7fffffff00'],
    ['a negative count', 'binary', '0f00020cffffffff00'],
    ['a string that lies', 'binary', '0c00010b00017fffffff'],
    ['a negative length', 'binary', '0c00010b0001ffffffff'],
    ['an unknown type', 'binary', '01000500'],
    ['a map that lies', 'binary', '0d00090b0b7fffffff'],
    ['a list that lies', 'compact', '29fcffffffff0f00'],
    ['a string that lies', 'compact', '1c18ffffffff0f'],
    ['an unknown type', 'compact', '1e00'],
    ['a varint without end', 'compact', '26ffffffffffffffffffffffff'],
  ])('%s, %s', (_, protocol, hex) => {
    expect(meridianErrorOf(() => readJaegerThrift(Buffer.from(hex, 'hex'), protocol))?.code).toBe('malformed');
  });

  test.each<['binary' | 'compact', Buffer, Buffer]>([
    ['binary', Buffer.from([0x0c, 0, 9]), Buffer.from([0x0c, 0, 1])],
    ['compact', Buffer.from([0x9c]), Buffer.from([0x1c])],
  ])('unknown fields nested without end, %s', (protocol, first, more) => {
    const bomb = Buffer.concat([first, ...Array.from({ length: 100_000 }, () => more)]);
    expect(meridianErrorOf(() => readJaegerThrift(bomb, protocol))?.message).toContain('nest');
    const lists = Buffer.concat([
      protocol === 'binary' ? Buffer.from([0x0f, 0, 9]) : Buffer.from([0x99]),
      Buffer.alloc(100_000, protocol === 'binary' ? Buffer.from([0x0f, 0, 0, 0, 1]) : Buffer.from([0x19])),
    ]);
    expect(meridianErrorOf(() => readJaegerThrift(lists, protocol))?.message).toContain('nest');
  });

  test('a process with too many tags', () => {
    const tags = Array.from({ length: JAEGER_TAGS_PER_LIST_MAX + 1 }, (_, index) => ({
      key: String(index),
      value: 'v',
    }));
    const body = thriftBatch('binary', { process: { serviceName: 's', tags }, spans: [SPAN] });
    expect(meridianErrorOf(() => readJaegerThrift(body))?.code).toBe('invalid');
  });

  test('one span more than a request may have', () => {
    // A span that is nothing but its end is one byte; it is rejected, but it counts.
    const spans = (count: number) =>
      Buffer.concat([Buffer.from('0f00020c', 'hex'), int32(count), Buffer.alloc(count + 1)]);
    expect(readJaegerThrift(spans(LIMITS.spansPerRequestMax)).rejected).toHaveLength(LIMITS.spansPerRequestMax);
    const error = meridianErrorOf(() => readJaegerThrift(spans(LIMITS.spansPerRequestMax + 1)));
    expect(error?.code).toBe('too-large');
  });

  test('a body larger than requests may inflate to', () => {
    expect(meridianErrorOf(() => readJaegerThrift(Buffer.alloc(LIMITS.requestInflatedBytesMax + 1)))?.code).toBe(
      'too-large',
    );
  });

  test('a batch of no spans is none', () => {
    for (const protocol of PROTOCOLS) {
      expect(readJaegerThrift(thriftBatch(protocol, batchOf()))).toEqual({
        tracesData: Buffer.alloc(0),
        rejected: [],
        spanCount: 0,
      });
    }
  });
});

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}
