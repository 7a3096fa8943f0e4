import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AnyValueView, findValue, type KeyValueView, plainRecord, VALUE_READ_DEPTH_MAX } from './any-value.js';
import { ProtoWriter } from './proto-writer.js';
import { readSpanViews, type SpanView } from './span-view.js';
import {
  hexOf,
  hostileBytes,
  meridianErrorOf,
  type OfficialAnyValue,
  type OfficialKeyValue,
  officialDecode,
  officialEncode,
  tracesDataArbitrary,
} from './testing/official-otlp.js';

function officialValue(value: OfficialAnyValue | null): unknown {
  switch (value?.value) {
    case 'stringValue':
      return { type: 'string', value: value.stringValue };
    case 'boolValue':
      return { type: 'bool', value: value.boolValue };
    case 'intValue': {
      const number = Number(value.intValue);
      return { type: 'int', value: Number.isSafeInteger(number) ? number : BigInt(value.intValue!) };
    }
    case 'doubleValue':
      return { type: 'double', value: value.doubleValue };
    case 'bytesValue':
      return { type: 'bytes', value: Buffer.from(value.bytesValue!, 'base64') };
    case 'arrayValue':
      return { type: 'array', value: value.arrayValue!.values.map(officialValue) };
    case 'kvlistValue':
      return { type: 'kvlist', value: officialAttributes(value.kvlistValue!.values) };
    default:
      return { type: 'empty', value: null };
  }
}

function officialAttributes(attributes: readonly OfficialKeyValue[]): unknown {
  return attributes.map(({ key, value }) => ({ key, value: officialValue(value) }));
}

/** The views that the official decoder's output stands for. */
function expectedViews(bytes: Buffer): unknown[] {
  const views: unknown[] = [];
  for (const { resource, scopeSpans, schemaUrl } of officialDecode(bytes).resourceSpans) {
    const resourceView = {
      attributes: officialAttributes(resource?.attributes ?? []),
      droppedAttributesCount: resource?.droppedAttributesCount ?? 0,
      entityRefs: resource?.entityRefs ?? [],
      schemaUrl,
    };
    const named = resource?.attributes.find(({ key }) => key === 'service.name')?.value?.stringValue;
    for (const { scope, spans, schemaUrl: scopeSchemaUrl } of scopeSpans) {
      const scopeView = {
        name: scope?.name ?? '',
        version: scope?.version ?? '',
        attributes: officialAttributes(scope?.attributes ?? []),
        droppedAttributesCount: scope?.droppedAttributesCount ?? 0,
        schemaUrl: scopeSchemaUrl,
      };
      for (const span of spans) {
        views.push({
          traceId: hexOf(span.traceId),
          spanId: hexOf(span.spanId),
          parentSpanId: span.parentSpanId === '' ? null : hexOf(span.parentSpanId),
          traceState: span.traceState,
          flags: span.flags,
          name: span.name,
          kind: span.kind,
          startUnixNano: BigInt(span.startTimeUnixNano),
          endUnixNano: BigInt(span.endTimeUnixNano),
          attributes: officialAttributes(span.attributes),
          droppedAttributesCount: span.droppedAttributesCount,
          events: span.events.map((event) => ({
            timeUnixNano: BigInt(event.timeUnixNano),
            name: event.name,
            attributes: officialAttributes(event.attributes),
            droppedAttributesCount: event.droppedAttributesCount,
          })),
          droppedEventsCount: span.droppedEventsCount,
          links: span.links.map((link) => ({
            traceId: hexOf(link.traceId),
            spanId: hexOf(link.spanId),
            traceState: link.traceState,
            attributes: officialAttributes(link.attributes),
            droppedAttributesCount: link.droppedAttributesCount,
            flags: link.flags,
          })),
          droppedLinksCount: span.droppedLinksCount,
          status: span.status ?? { code: 0, message: '' },
          resource: resourceView,
          scope: scopeView,
          service: named === undefined || named === '' ? 'unknown_service' : named,
        });
      }
    }
  }
  return views;
}

const ID = { traceId: Buffer.alloc(16, 1), spanId: Buffer.alloc(8, 2) };

function tracesData(span: object, resource: object = {}, scope: object = {}): Buffer {
  return officialEncode({ resourceSpans: [{ resource, scopeSpans: [{ scope, spans: [{ ...ID, ...span }] }] }] });
}

function onlySpan(bytes: Buffer): SpanView {
  const [span] = readSpanViews(bytes);
  expect(span).toBeDefined();
  return span!;
}

describe('readSpanViews', () => {
  test('reads every field as the official decoder does', () => {
    fc.assert(
      fc.property(tracesDataArbitrary, (data) => {
        const bytes = officialEncode(data);
        expect(readSpanViews(bytes)).toEqual(expectedViews(bytes));
      }),
      { numRuns: 300 },
    );
  });

  test('reads nothing from nothing', () => {
    expect(readSpanViews(Buffer.alloc(0))).toEqual([]);
  });

  test('shares one resource and one scope between their spans', () => {
    const spans = [ID, ID];
    const [a, b] = readSpanViews(officialEncode({ resourceSpans: [{ scopeSpans: [{ spans }] }] }));
    expect(a!.resource).toBe(b!.resource);
    expect(a!.scope).toBe(b!.scope);
  });

  test('finds a resource and a scope that stand behind their spans', () => {
    const writer = new ProtoWriter();
    const resourceSpans = writer.begin(1);
    const scopeSpans = writer.begin(2);
    const span = writer.begin(2);
    writer.bytesField(1, ID.traceId);
    writer.bytesField(2, ID.spanId);
    writer.end(span);
    const scope = writer.begin(1);
    writer.stringField(1, 'late');
    writer.end(scope);
    writer.end(scopeSpans);
    const resource = writer.begin(1);
    const attribute = writer.begin(1);
    writer.stringField(1, 'service.name');
    const value = writer.begin(2);
    writer.stringField(1, 'late service');
    writer.end(value);
    writer.end(attribute);
    writer.end(resource);
    writer.end(resourceSpans);
    const view = onlySpan(writer.finish());
    expect([view.scope.name, view.service]).toEqual(['late', 'late service']);
  });

  test('passes over fields that it does not know', () => {
    const writer = new ProtoWriter();
    const resourceSpans = writer.begin(1);
    const scopeSpans = writer.begin(2);
    const span = writer.begin(2);
    writer.uintField(100, 5);
    writer.bytesField(1, ID.traceId);
    writer.fixed64Field(101, 5n);
    writer.bytesField(2, ID.spanId);
    writer.fixed32Field(102, 5);
    writer.stringField(103, 'new');
    writer.end(span);
    writer.end(scopeSpans);
    writer.end(resourceSpans);
    writer.stringField(9, 'new');
    expect(onlySpan(writer.finish()).spanId).toBe('0202020202020202');
  });

  test('a zero parent and one of another length are none', () => {
    expect(onlySpan(tracesData({ parentSpanId: Buffer.alloc(8) })).parentSpanId).toBeNull();
    expect(onlySpan(tracesData({ parentSpanId: Buffer.alloc(4, 1) })).parentSpanId).toBeNull();
  });

  test('names a service that has no name', () => {
    expect(onlySpan(tracesData({})).service).toBe('unknown_service');
    const named = (value: object) => onlySpan(tracesData({}, { attributes: [{ key: 'service.name', value }] })).service;
    expect(named({ stringValue: '' })).toBe('unknown_service');
    expect(named({ intValue: 5 })).toBe('unknown_service');
    expect(named({ stringValue: 'a' })).toBe('a');
  });

  test('refuses spans without a proper id', () => {
    for (const wrong of [
      { traceId: Buffer.alloc(8, 1) },
      { traceId: Buffer.alloc(16) },
      { spanId: Buffer.alloc(7, 1) },
    ]) {
      expect(meridianErrorOf(() => readSpanViews(tracesData(wrong)))?.code).toBe('malformed');
    }
  });

  test('reads as many spans as allowed, not one more', () => {
    const bytes = officialEncode({ resourceSpans: [{ scopeSpans: [{ spans: [ID, ID, ID] }] }] });
    expect(readSpanViews(bytes, 3)).toHaveLength(3);
    expect(meridianErrorOf(() => readSpanViews(bytes, 2))?.code).toBe('too-large');
  });

  test('reads nested values to the limit and not deeper', () => {
    const nested = (levels: number): object =>
      levels === 0 ? { intValue: 1 } : { arrayValue: { values: [nested(levels - 1)] } };
    const at = (levels: number) => tracesData({ attributes: [{ key: 'k', value: nested(levels) }] });
    expect(onlySpan(at(VALUE_READ_DEPTH_MAX)).attributes).toHaveLength(1);
    expect(meridianErrorOf(() => readSpanViews(at(VALUE_READ_DEPTH_MAX + 1)))?.code).toBe('malformed');
  });

  test('refuses lengths that lie, cut varints, groups and field 0', () => {
    for (const hex of [
      '0a',
      '0a05',
      '0aff',
      '0affffffffffffffffff01',
      '80808080808080808080808001',
      '0b',
      '00',
      '0d01',
      '0901',
    ]) {
      expect(meridianErrorOf(() => readSpanViews(Buffer.from(hex, 'hex')))?.code).toBe('malformed');
    }
  });

  test('throws nothing but the typed error, whatever the bytes', () => {
    const valid = fc.sample(tracesDataArbitrary, { numRuns: 30, seed: 7 }).map((data) => officialEncode(data));
    fc.assert(
      fc.property(hostileBytes(valid.filter((bytes) => bytes.length > 0)), (bytes) => {
        const error = meridianErrorOf(() => readSpanViews(bytes));
        if (error !== null) expect(error.code).toBe('malformed');
      }),
      { numRuns: 3000 },
    );
  });

  test('a truncation anywhere inside a message is malformed', () => {
    const bytes = tracesData({
      name: 'operation',
      attributes: [{ key: 'k', value: { stringValue: 'v' } }],
      status: { code: 2 },
    });
    for (let length = 1; length < bytes.length; length++) {
      expect(meridianErrorOf(() => readSpanViews(bytes.subarray(0, length)))?.code).toBe('malformed');
    }
  });
});

describe('plain JSON', () => {
  const view = onlySpan(
    tracesData({
      attributes: [
        { key: 'big', value: { intValue: '9223372036854775807' } },
        { key: 'int', value: { intValue: -5 } },
        { key: 'nan', value: { doubleValue: Number.NaN } },
        { key: 'double', value: { doubleValue: 1.5 } },
        { key: 'bytes', value: { bytesValue: Buffer.from([1, 2]) } },
        { key: 'list', value: { arrayValue: { values: [{ boolValue: true }, {}] } } },
        { key: '__proto__', value: { kvlistValue: { values: [{ key: 'constructor', value: { stringValue: 'x' } }] } } },
        { key: 'twice', value: { stringValue: 'a' } },
        { key: 'twice', value: { stringValue: 'b' } },
      ],
    }),
  );

  test('has a form for every type, and no prototype to pollute', () => {
    expect(JSON.stringify(plainRecord(view.attributes))).toBe(
      '{"big":"9223372036854775807","int":-5,"nan":"NaN","double":1.5,"bytes":"AQI=","list":[true,null],' +
        '"__proto__":{"constructor":"x"},"twice":"b"}',
    );
  });

  test('findValue gives the first value of a key', () => {
    expect(findValue(view.attributes, 'twice')).toEqual({ type: 'string', value: 'a' });
    expect(findValue(view.attributes, 'none')).toBeNull();
  });
});

test('values of a view have the types that are told', () => {
  const types = (attributes: readonly KeyValueView[]) =>
    attributes.map(({ value }: { value: AnyValueView }) => value.type);
  const values = [
    { stringValue: '' },
    { boolValue: false },
    { intValue: 0 },
    { doubleValue: 0 },
    { bytesValue: Buffer.alloc(0) },
    {},
  ];
  const span = onlySpan(tracesData({ attributes: values.map((value, index) => ({ key: String(index), value })) }));
  expect(types(span.attributes)).toEqual(['string', 'bool', 'int', 'double', 'bytes', 'empty']);
});
