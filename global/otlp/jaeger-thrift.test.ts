import { createRequire } from 'node:module';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { findValue, plainRecord } from './any-value.js';
import { readJaegerThrift, thriftProtocolOf } from './jaeger-thrift.js';
import { readSpanViews } from './span-view.js';
import { catchBody } from './testing/body-catcher.js';
import { hostileBytes, meridianErrorOf, officialDecode } from './testing/official-otlp.js';
import { batchOf, PROTOCOLS, SPAN, type TestBatch, type TestTag, thriftBatch } from './testing/thrift-batch.js';

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';

const FULL: TestBatch = {
  process: {
    serviceName: 'käse',
    tags: [
      { key: 'hostname', value: 'h-1' },
      { key: 'jaeger.version', value: 'Node-3.19.0' },
      { key: 'pid', value: 4711n },
    ],
  },
  spans: [
    {
      ...SPAN,
      parentSpanId: -1n,
      operationName: 'GET /ü/€/😀',
      references: [
        { refType: 0, traceIdLow: SPAN.traceIdLow, traceIdHigh: SPAN.traceIdHigh, spanId: -1n },
        { refType: 1, traceIdLow: 7n, traceIdHigh: INT64_MIN, spanId: INT64_MAX },
      ],
      tags: [
        { key: 'text', value: 'ünï 🧀' },
        { key: 'empty', value: '' },
        { key: 'double', value: -0.1 },
        { key: 'whole double', value: 5 },
        { key: 'yes', value: true },
        { key: 'no', value: false },
        { key: 'max', value: INT64_MAX },
        { key: 'min', value: INT64_MIN },
        { key: 'zero', value: 0n },
        { key: 'binary', value: Buffer.from([0, 255, 128]) },
        { key: 'span.kind', value: 'server' },
        { key: 'error', value: true },
        { key: 'otel.status_description', value: 'it failed' },
        { key: 'w3c.tracestate', value: 'a=b' },
        { key: 'otel.scope.name', value: 'lib' },
        { key: 'otel.scope.version', value: '1.0' },
      ],
      logs: [
        {
          timestamp: 1_700_000_000_000_002n,
          fields: [
            { key: 'event', value: 'cache miss' },
            { key: 'tries', value: 3n },
          ],
        },
        {
          timestamp: 1_700_000_000_000_003n,
          fields: [
            { key: 'message', value: 'hello' },
            { key: 'ok', value: true },
          ],
        },
        { timestamp: 1_700_000_000_000_004n, fields: [] },
      ],
    },
  ],
};

describe.each(PROTOCOLS)('a batch of Apache Thrift, %s', (protocol) => {
  test('comes out field by field', () => {
    const { tracesData, rejected, spanCount } = readJaegerThrift(thriftBatch(protocol, FULL));
    expect([rejected, spanCount]).toEqual([[], 1]);
    const [span] = readSpanViews(tracesData);
    expect(span).toEqual({
      traceId: TRACE_ID,
      spanId: '1122334455667788',
      parentSpanId: 'ffffffffffffffff',
      traceState: 'a=b',
      flags: 1,
      name: 'GET /ü/€/😀',
      kind: 2,
      startUnixNano: 1_700_000_000_000_001_000n,
      endUnixNano: 1_700_000_000_000_006_000n,
      attributes: [
        { key: 'text', value: { type: 'string', value: 'ünï 🧀' } },
        { key: 'empty', value: { type: 'string', value: '' } },
        { key: 'double', value: { type: 'double', value: -0.1 } },
        { key: 'whole double', value: { type: 'double', value: 5 } },
        { key: 'yes', value: { type: 'bool', value: true } },
        { key: 'no', value: { type: 'bool', value: false } },
        { key: 'max', value: { type: 'int', value: INT64_MAX } },
        { key: 'min', value: { type: 'int', value: INT64_MIN } },
        { key: 'zero', value: { type: 'int', value: 0 } },
        { key: 'binary', value: { type: 'bytes', value: Buffer.from([0, 255, 128]) } },
      ],
      droppedAttributesCount: 0,
      events: [
        {
          timeUnixNano: 1_700_000_000_000_002_000n,
          name: 'cache miss',
          attributes: [{ key: 'tries', value: { type: 'int', value: 3 } }],
          droppedAttributesCount: 0,
        },
        {
          timeUnixNano: 1_700_000_000_000_003_000n,
          name: 'hello',
          attributes: [
            { key: 'message', value: { type: 'string', value: 'hello' } },
            { key: 'ok', value: { type: 'bool', value: true } },
          ],
          droppedAttributesCount: 0,
        },
        { timeUnixNano: 1_700_000_000_000_004_000n, name: '', attributes: [], droppedAttributesCount: 0 },
      ],
      droppedEventsCount: 0,
      links: [
        {
          traceId: '80000000000000000000000000000007',
          spanId: '7fffffffffffffff',
          traceState: '',
          attributes: [{ key: 'opentracing.ref_type', value: { type: 'string', value: 'follows_from' } }],
          droppedAttributesCount: 0,
          flags: 0,
        },
      ],
      droppedLinksCount: 0,
      status: { code: 2, message: 'it failed' },
      resource: {
        attributes: [
          { key: 'service.name', value: { type: 'string', value: 'käse' } },
          { key: 'host.name', value: { type: 'string', value: 'h-1' } },
          { key: 'opencensus.exporterversion', value: { type: 'string', value: 'Jaeger-Node-3.19.0' } },
          { key: 'pid', value: { type: 'int', value: 4711 } },
        ],
        droppedAttributesCount: 0,
        entityRefs: [],
        schemaUrl: '',
      },
      scope: { name: 'lib', version: '1.0', attributes: [], droppedAttributesCount: 0, schemaUrl: '' },
      service: 'käse',
    });
  });

  test('also with unknown fields everywhere and the spans before the process', () => {
    const usual = readJaegerThrift(thriftBatch(protocol, FULL)).tracesData;
    const unusual = readJaegerThrift(thriftBatch(protocol, FULL, { unusual: true })).tracesData;
    expect(unusual.toString('hex')).toBe(usual.toString('hex'));
  });

  test('is recognised by its first bytes', () => {
    expect(thriftProtocolOf(thriftBatch(protocol, FULL))).toBe(protocol);
    expect(thriftProtocolOf(thriftBatch(protocol, FULL, { unusual: true }))).toBe(protocol);
    const given = readJaegerThrift(thriftBatch(protocol, FULL), protocol);
    expect(given.spanCount).toBe(1);
  });

  test('a truncation anywhere is malformed', () => {
    const body = thriftBatch(protocol, FULL);
    for (let length = 0; length < body.length; length++) {
      expect(meridianErrorOf(() => readJaegerThrift(body.subarray(0, length), protocol))?.code).toBe('malformed');
    }
  });

  test('hostile bodies throw nothing but the typed error', () => {
    const valid = [
      thriftBatch(protocol, FULL),
      thriftBatch(protocol, FULL, { unusual: true }),
      thriftBatch(protocol, batchOf({}, {})),
    ];
    fc.assert(
      fc.property(hostileBytes(valid), (body) => {
        const error = meridianErrorOf(() => {
          const { tracesData, spanCount } = readJaegerThrift(body);
          expect(readSpanViews(tracesData)).toHaveLength(spanCount);
          officialDecode(tracesData);
        });
        if (error !== null) expect(['malformed', 'invalid', 'too-large']).toContain(error.code);
      }),
      { numRuns: 1500 },
    );
  });
});

test('both protocols mean the same, whatever the batch', () => {
  const int64 = fc.bigInt({ min: INT64_MIN, max: INT64_MAX });
  const text = fc.string({ unit: 'binary', maxLength: 20 });
  const tags: fc.Arbitrary<TestTag[]> = fc.uniqueArray(
    fc.record({
      key: text.map((key) => `k${key}`),
      // Thrift's Node library, which writes the bodies, has no exact subnormals and no negative zero.
      value: fc.oneof(
        text,
        fc.boolean(),
        int64,
        fc.uint8Array({ maxLength: 9 }).map((bytes) => Buffer.from(bytes)),
        fc.integer(),
        fc.constantFrom(0.5, -1e300, 1e-300),
      ),
    }),
    { selector: ({ key }) => key, maxLength: 5 },
  );
  const micros = fc.bigInt({ min: 0n, max: 9_000_000_000_000_000n });
  const span = fc.record({
    traceIdLow: int64,
    traceIdHigh: int64,
    spanId: int64,
    parentSpanId: int64,
    operationName: text,
    flags: fc.integer(),
    startTime: micros,
    duration: micros,
    tags,
    logs: fc.array(fc.record({ timestamp: micros, fields: tags }), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(
      fc.record({ process: fc.record({ serviceName: text, tags }), spans: fc.array(span, { maxLength: 20 }) }),
      (data) => {
        const [binary, compact] = PROTOCOLS.map((protocol) => readJaegerThrift(thriftBatch(protocol, data), protocol));
        expect(compact!.tracesData.equals(binary!.tracesData)).toBe(true);
        const kept = data.spans.filter(
          ({ spanId, traceIdHigh, traceIdLow }) => spanId !== 0n && (traceIdHigh | traceIdLow) !== 0n,
        );
        expect(binary!.spanCount).toBe(kept.length);
        const views = readSpanViews(binary!.tracesData);
        expect(views.map(({ name, startUnixNano }) => [name, startUnixNano])).toEqual(
          kept.map(({ operationName, startTime }) => [Buffer.from(operationName).toString(), startTime * 1000n]),
        );
        for (const [index, view] of views.entries()) {
          const values = kept[index]!.tags.map(({ key, value }) => [
            Buffer.from(key).toString(),
            typeof value === 'string' ? Buffer.from(value).toString() : value,
          ]);
          const read = view.attributes.map(({ key, value }) => [
            key,
            value.type === 'int' ? BigInt(value.value) : value.value,
          ]);
          expect(read).toEqual(values);
        }
      },
    ),
    { numRuns: 100 },
  );
});

describe("Jaeger's own client", () => {
  interface JaegerClientSpan {
    context(): { traceIdStr: string; spanIdStr: string };
    setTag(key: string, value: unknown): void;
    log(fields: object, timestamp?: number): void;
    finish(at?: number): void;
  }
  interface JaegerClientTracer {
    startSpan(name: string, options?: object): JaegerClientSpan;
    close(done: () => void): void;
  }
  const { initTracer, opentracing } = createRequire(import.meta.url)('jaeger-client') as {
    initTracer(config: object, options: object): JaegerClientTracer;
    opentracing: { followsFrom(context: object): object };
  };

  test('every span comes back equal', async () => {
    const ids: { traceId: string; root: string; child: string; other: string } = {
      traceId: '',
      root: '',
      child: '',
      other: '',
    };
    const { body, contentType } = await catchBody((port) => {
      const tracer = initTracer(
        {
          serviceName: 'orders',
          traceId128bit: true,
          sampler: { type: 'const', param: 1 },
          reporter: { collectorEndpoint: `http://127.0.0.1:${port}/api/traces`, flushIntervalMs: 600_000 },
        },
        { tags: { zone: 'b', shards: 3 }, logger: { info() {}, error() {} } },
      );
      const root = tracer.startSpan('Bestellung für 😀', {
        startTime: 1_700_000_000_000,
        tags: { 'span.kind': 'server' },
      });
      const other = tracer.startSpan('other', { startTime: 1_700_000_000_001 });
      const child = tracer.startSpan('child', {
        startTime: 1_700_000_000_002,
        childOf: root.context(),
        references: [opentracing.followsFrom(other.context())],
        tags: {
          'span.kind': 'client',
          text: 'ü',
          number: 1.5,
          whole: 7,
          yes: true,
          no: false,
          bytes: Buffer.from([1, 2]),
          object: { a: 1 },
        },
      });
      child.setTag('error', true);
      child.log({ event: 'retry', attempt: 2 }, 1_700_000_000_003);
      child.finish(1_700_000_000_010);
      other.finish(1_700_000_000_011);
      root.finish(1_700_000_000_020);
      ids.traceId = root.context().traceIdStr;
      ids.root = root.context().spanIdStr;
      ids.child = child.context().spanIdStr;
      ids.other = other.context().spanIdStr;
      tracer.close(() => {});
    });
    expect(contentType).toBe('application/x-thrift');
    const { tracesData, rejected, spanCount } = readJaegerThrift(body);
    expect([rejected, spanCount]).toEqual([[], 3]);
    const views = readSpanViews(tracesData);
    const [child, other, root] = views;
    expect(root).toMatchObject({
      traceId: ids.traceId.padStart(32, '0'),
      spanId: ids.root.padStart(16, '0'),
      parentSpanId: null,
      name: 'Bestellung für 😀',
      kind: 2,
      flags: 1,
      startUnixNano: 1_700_000_000_000_000_000n,
      endUnixNano: 1_700_000_000_020_000_000n,
      service: 'orders',
      status: { code: 0, message: '' },
    });
    expect(child).toMatchObject({ parentSpanId: root!.spanId, kind: 3, status: { code: 2, message: '' } });
    expect({ ...plainRecord(child!.attributes) }).toEqual({
      text: 'ü',
      number: 1.5,
      whole: 7,
      yes: true,
      no: false,
      bytes: 'AQI=',
      object: '{"a":1}',
    });
    expect(child!.events).toMatchObject([{ name: 'retry', timeUnixNano: 1_700_000_000_003_000_000n }]);
    expect(child!.links).toMatchObject([{ traceId: other!.traceId, spanId: ids.other.padStart(16, '0') }]);
    expect(plainRecord(root!.resource.attributes)).toMatchObject({ 'service.name': 'orders', zone: 'b', shards: 3 });
    expect(findValue(root!.resource.attributes, 'host.name')?.type).toBe('string');
  });
});

const RECORDED = {
  binary:
    'DAABCwABAAAACGNoZWNrb3V0DwACDAAAAAELAAEAAAADcGlkCAACAAAAAwoABgAAAAAAAAAHAAAPAAIMAAAAAQoAAQAAAACESAABCgAC' +
    '//////////sKAAMAAAAAAAAAAwoABAAAAAAAAAACCwAFAAAABnBheSDDvA8ABgwAAAABCAABAAAAAQoAAgAAAAAAAAABCgADAAAAAAAA' +
    'AAAKAAQAAAAAAAAACQAIAAcAAAABCgAIAAYKJBgeQAEKAAkAAAAAAAAABQ8ACgwAAAAHCwABAAAAAXMIAAIAAAAACwADAAAAA+KCrAAL' +
    'AAEAAAABZAgAAgAAAAEEAAQ/4AAAAAAAAAALAAEAAAABYggAAgAAAAICAAUBAAsAAQAAAAFsCAACAAAAAwoABv//////////AAsAAQAA' +
    'AAF4CAACAAAABAsABwAAAAIB/wALAAEAAAAFZXJyb3IIAAIAAAACAgAFAQALAAEAAAAJc3Bhbi5raW5kCAACAAAAAAsAAwAAAAZjbGll' +
    'bnQADwALDAAAAAEKAAEABgokGB5AAg8AAgwAAAABCwABAAAABWV2ZW50CAACAAAAAAsAAwAAAAFlAAAAAA==',
  compact:
    'HBgIY2hlY2tvdXQZHBgDcGlkFQZGDgAAGRwWgoDAxBAWCRYGFgQYBnBheSDDvBkcFQIWAhYAFhIAFQIWgoDygYOJhQYWChl8GAFzFQAY' +
    'A+KCrAAYAWQVAicAAAAAAADgPwAYAWIVBDEAGAFsFQZGAQAYAXgVCFgCAf8AGAVlcnJvchUEMQAYCXNwYW4ua2luZBUAGAZjbGllbnQA' +
    'GRwWhIDygYOJhQYZHBgFZXZlbnQVABgBZQAAAAA=',
};
const GOLDEN_TRACES_DATA =
  'CpECCicKGgoMc2VydmljZS5uYW1lEgoKCGNoZWNrb3V0CgkKA3BpZBICGAcS5QES4gEKEP/////////7AAAAAIRIAAESCAAAAAAAAAADIggAAA' +
  'AAAAAAAioGcGF5IMO8MAM56AMqNv6clxdBcBcqNv6clxdKCgoBcxIFCgPigqxKDgoBZBIJIQAAAAAAAOA/SgcKAWISAhABShAKAWwSCxj/////' +
  '//////8BSgkKAXgSBDoCAf9aDAnQByo2/pyXFxIBZWpEChAAAAAAAAAAAAAAAAAAAAABEggAAAAAAAAACSImChRvcGVudHJhY2luZy5yZWZfdH' +
  'lwZRIOCgxmb2xsb3dzX2Zyb216AhgChQEBAAAA';

test.each(PROTOCOLS)('a recorded body of the %s protocol gives what it gave before (golden)', (protocol) => {
  const body = Buffer.from(RECORDED[protocol], 'base64');
  expect(readJaegerThrift(body).tracesData.toString('base64')).toBe(GOLDEN_TRACES_DATA);
});
