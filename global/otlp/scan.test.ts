import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nanosFromHalves } from '../model/time.js';
import { forEachSpan } from './scan.js';
import type { SpanRef } from './span-ref.js';
import { hexOf, meridianErrorOf, officialEncode, tracesDataArbitrary } from './testing/official-otlp.js';
import { rowsOf } from './testing/rows.js';
import { mangled } from './testing/wire-mangling.js';
import { encodeBytesField } from './wire.js';

const hex = (span: SpanRef, at: number, bytes: number): string => span.buffer.toString('hex', at, at + bytes);
const nothingFor = (start: number, end: number): boolean => start === end;

function seen(tracesData: Buffer): object[] {
  const spans: object[] = [];
  forEachSpan(tracesData, (span) => {
    spans.push({
      traceId: hex(span, span.traceIdAt, 16),
      spanId: hex(span, span.spanIdAt, 8),
      parentSpanId: span.parentSpanIdAt < 0 ? '' : hex(span, span.parentSpanIdAt, 8),
      name: span.buffer.toString('utf8', span.nameStart, span.nameEnd),
      kind: span.kind,
      flags: span.flags,
      start: nanosFromHalves(span.startHigh, span.startLow).toString(),
      end: nanosFromHalves(span.endHigh, span.endLow).toString(),
      status: span.statusCode,
      service: span.buffer.toString('utf8', span.serviceStart, span.serviceEnd),
    });
    return true;
  });
  return spans;
}

const traceId = Buffer.alloc(16, 0xab);
const spanId = Buffer.alloc(8, 0xcd);
const service = (name: string): object => ({ attributes: [{ key: 'service.name', value: { stringValue: name } }] });

describe('forEachSpan', () => {
  test('sees the spans of the official decoder, field by field, in any order of fields and with unknown ones', () => {
    fc.assert(
      fc.property(tracesDataArbitrary, fc.nat(), fc.boolean(), (data, seed, named) => {
        for (const { resource } of named ? data.resourceSpans : []) {
          resource?.attributes.push({ key: 'service.name', value: { stringValue: 'orders' } });
        }
        const bytes = mangled(officialEncode(data), seed);
        const expected = rowsOf(bytes).map(({ resource, span }) => {
          const own = resource?.attributes.find(({ key }) => key === 'service.name');
          return {
            traceId: hexOf(span.traceId),
            spanId: hexOf(span.spanId),
            parentSpanId: hexOf(span.parentSpanId),
            name: span.name,
            kind: span.kind,
            flags: span.flags,
            start: span.startTimeUnixNano,
            end: span.endTimeUnixNano,
            status: span.status?.code ?? 0,
            service: own?.value?.stringValue ?? '',
          };
        });
        expect(seen(bytes)).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  test('gives the ranges of resource, scope and their messages, also where they follow the spans', () => {
    const resource = Buffer.concat([encodeBytesField(1, Buffer.concat([encodeBytesField(1, Buffer.from('k'))]))]);
    const scope = encodeBytesField(1, Buffer.from('scope'));
    const span = Buffer.concat([encodeBytesField(1, traceId), encodeBytesField(2, spanId)]);
    const scopeSpans = Buffer.concat([encodeBytesField(2, span), encodeBytesField(1, scope)]);
    const resourceSpans = Buffer.concat([encodeBytesField(2, scopeSpans), encodeBytesField(1, resource)]);
    const bytes = encodeBytesField(1, resourceSpans);
    let visits = 0;
    forEachSpan(bytes, (ref) => {
      visits++;
      expect(bytes.subarray(ref.resourceSpansStart, ref.resourceSpansEnd)).toEqual(resourceSpans);
      expect(bytes.subarray(ref.resourceStart, ref.resourceEnd)).toEqual(resource);
      expect(bytes.subarray(ref.scopeSpansStart, ref.scopeSpansEnd)).toEqual(scopeSpans);
      expect(bytes.subarray(ref.scopeStart, ref.scopeEnd)).toEqual(scope);
      expect(bytes.subarray(ref.spanStart, ref.spanEnd)).toEqual(span);
      return true;
    });
    expect(visits).toBe(1);
  });

  test('absent resource and scope are empty ranges, and nothing of the last ones is left', () => {
    const bytes = officialEncode({
      resourceSpans: [
        {
          resource: service('first'),
          scopeSpans: [
            {
              scope: { name: 's' },
              spans: [
                {
                  traceId,
                  spanId,
                  name: 'a',
                  kind: 3,
                  parentSpanId: spanId,
                  startTimeUnixNano: 5,
                  endTimeUnixNano: 6,
                  flags: 1,
                  status: { code: 2 },
                },
              ],
            },
          ],
        },
        { scopeSpans: [{ spans: [{ traceId, spanId }] }] },
      ],
    });
    const services: string[] = [];
    forEachSpan(bytes, (span) => {
      services.push(bytes.toString('utf8', span.serviceStart, span.serviceEnd));
      if (services.length === 1) return true;
      expect(nothingFor(span.resourceStart, span.resourceEnd)).toBe(true);
      expect(nothingFor(span.scopeStart, span.scopeEnd)).toBe(true);
      expect(nothingFor(span.nameStart, span.nameEnd)).toBe(true);
      expect(span).toMatchObject({ kind: 0, parentSpanIdAt: -1, startLow: 0, endLow: 0, flags: 0, statusCode: 0 });
      return true;
    });
    expect(services).toEqual(['first', '']);
  });

  test('a parent of zeros is none; the first service.name counts, and only as a string', () => {
    const attributes = [
      { key: 'service.name', value: { stringValue: 'one' } },
      { key: 'service.name', value: { stringValue: 'two' } },
    ];
    const spans = [{ traceId, spanId, parentSpanId: Buffer.alloc(8) }];
    const bytes = officialEncode({ resourceSpans: [{ resource: { attributes }, scopeSpans: [{ spans }] }] });
    expect(seen(bytes)).toMatchObject([{ parentSpanId: '', service: 'one' }]);
    const number = { attributes: [{ key: 'service.name', value: { intValue: 5 } }] };
    const other = officialEncode({ resourceSpans: [{ resource: number, scopeSpans: [{ spans }] }] });
    expect(seen(other)).toMatchObject([{ service: '' }]);
  });

  test('spans without valid ids are passed over', () => {
    const spans = [
      { traceId: traceId.subarray(8), spanId },
      { traceId, spanId: spanId.subarray(1) },
      { traceId: Buffer.alloc(16), spanId },
      { traceId, spanId: Buffer.alloc(8) },
      { traceId },
      { traceId, spanId, name: 'good' },
    ];
    expect(seen(officialEncode({ resourceSpans: [{ scopeSpans: [{ spans }] }] }))).toMatchObject([{ name: 'good' }]);
  });

  test('returning false ends the scan, before what is malformed later on', () => {
    const good = officialEncode({
      resourceSpans: [
        {
          scopeSpans: [
            {
              spans: [
                { traceId, spanId },
                { traceId, spanId },
              ],
            },
          ],
        },
      ],
    });
    const bytes = Buffer.concat([good, Buffer.from([0x0a, 0x7f])]);
    let visits = 0;
    forEachSpan(bytes, () => {
      visits++;
      return false;
    });
    expect(visits).toBe(1);
    expect(meridianErrorOf(() => forEachSpan(bytes, () => true))?.code).toBe('malformed');
  });

  test('an empty message has no spans', () => {
    expect(seen(Buffer.alloc(0))).toEqual([]);
  });
});
