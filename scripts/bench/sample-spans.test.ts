import { describe, expect, test } from 'vitest';
import { nanosFromHalves } from '../../global/model/time.js';
import { AttributeField, attributeValueText, forEachAttribute } from '../../global/otlp/attributes.js';
import { forEachSpan } from '../../global/otlp/scan.js';
import { splitByTrace } from '../../global/otlp/split.js';
import { makeBatch, SAMPLE_START_UNIX_NANO, type SampleBatchOptions } from './sample-spans.js';

function look(options: SampleBatchOptions): {
  values: Map<string, Set<string>>;
  services: Set<string>;
  bytes: number;
  spans: number;
  roots: number;
} {
  const batch = makeBatch(options);
  const values = new Map<string, Set<string>>();
  const services = new Set<string>();
  let spans = 0;
  let bytes = 0;
  let roots = 0;
  forEachSpan(batch, (span) => {
    spans++;
    bytes += span.spanEnd - span.spanStart;
    if (span.parentSpanIdAt < 0) roots++;
    services.add(batch.toString('utf8', span.serviceStart, span.serviceEnd));
    const start = nanosFromHalves(span.startHigh, span.startLow);
    expect(start).toBeGreaterThanOrEqual(options.startUnixNano ?? SAMPLE_START_UNIX_NANO);
    expect(nanosFromHalves(span.endHigh, span.endLow)).toBeGreaterThan(start);
    forEachAttribute(batch, span.spanStart, span.spanEnd, AttributeField.span, (keyStart, keyEnd, from, to) => {
      const key = batch.toString('utf8', keyStart, keyEnd);
      values.set(key, (values.get(key) ?? new Set()).add(attributeValueText(batch, from, to)!));
      return true;
    });
    return true;
  });
  return { values, services, bytes, spans, roots };
}

describe('makeBatch', () => {
  test('makes the spans, sizes, traces and services that were asked for', () => {
    const { spans, bytes, services, values } = look({ spans: 512, seed: 1, services: 3 });
    expect(spans).toBe(512);
    expect(bytes / spans).toBeGreaterThan(425);
    expect(bytes / spans).toBeLessThan(435);
    expect([...services]).toEqual(['gateway', 'orders', 'payments']);
    expect(values.size).toBe(11);
    expect(splitByTrace(makeBatch({ spans: 512, seed: 1 }))).toHaveLength(52);
    expect(splitByTrace(makeBatch({ spans: 512, seed: 1, tracesPerBatch: 7 }))).toHaveLength(7);
    expect(look({ spans: 70, seed: 1, tracesPerBatch: 7 }).roots).toBe(7);
    expect(look({ spans: 5, seed: 1, startUnixNano: 5n }).spans).toBe(5);
  });

  test('as many attributes as asked for have a value of their own in each span', () => {
    for (const uniqueAttributesPerSpan of [0, 1, 4]) {
      const { values } = look({ spans: 300, seed: 2, bytesPerSpan: 600, uniqueAttributesPerSpan });
      expect([...values.values()].filter((set) => set.size === 300)).toHaveLength(uniqueAttributesPerSpan);
    }
  });

  test('is deterministic', () => {
    expect(makeBatch({ spans: 20, seed: 3 })).toEqual(makeBatch({ spans: 20, seed: 3 }));
    expect(makeBatch({ spans: 20, seed: 3 })).not.toEqual(makeBatch({ spans: 20, seed: 4 }));
  });
});
