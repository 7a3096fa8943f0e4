import { expect, test } from 'vitest';
import { MetadataFlag } from '../../global/model/metadata.js';
import { region, spanId, type TestSpan, TRACE, tracesData } from '../testing/otlp-spans.js';
import { answerRecord } from './answer-record.js';

const A = region('a');
const HIGH = 1n << 40n;

function span(n: number, start: bigint, end: bigint, changes: Partial<TestSpan> = {}): TestSpan {
  return { traceId: TRACE, spanId: spanId(n), parentSpanId: spanId(99), start, end, ...changes };
}

function record(payloads: readonly (readonly TestSpan[])[], flags = 0) {
  return answerRecord(TRACE, { region: A, payloads: payloads.map(tracesData), flags });
}

test('start and end over all payloads, by both halves of a time', () => {
  const made = record([
    [span(1, HIGH + 5n, HIGH + 9n), span(2, HIGH + 4n, HIGH + 6n)],
    [span(3, 3n * HIGH + 1n, 3n * HIGH + 2n), span(4, 2n * HIGH + 9n, 2n * HIGH + 0xffff_ffffn)],
  ]);
  expect([made.startUnixNano, made.endUnixNano]).toEqual([HIGH + 4n, 3n * HIGH + 2n]);
  expect(made).toMatchObject({ traceId: TRACE, region: A, root: null, coverage: [], blocks: [], flags: 0 });
});

test('a span that ends before it starts counts as ending at its start', () => {
  expect(record([[span(1, HIGH, HIGH - 7n)]])).toMatchObject({ startUnixNano: HIGH, endUnixNano: HIGH });
});

test('the root is the earliest span without a parent; flags are those of the segments', () => {
  const rootless = (n: number, start: bigint, name: string): TestSpan => {
    const { parentSpanId: _, ...root } = span(n, start, start + 1n, { service: 'shop', name });
    return root;
  };
  const made = record(
    [[span(1, 1n, 2n), rootless(2, 9n, 'late')], [rootless(3, 5n, 'early')]],
    MetadataFlag.implausibleTime,
  );
  expect(made.root).toEqual({ startUnixNano: 5n, service: 'shop', operation: 'early' });
  expect(made.flags).toBe(MetadataFlag.implausibleTime);
});
