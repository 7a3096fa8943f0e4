import { ZipkinExporter } from '@opentelemetry/exporter-zipkin';
import { describe, expect, test } from 'vitest';
import { plainRecord } from './any-value.js';
import { readSpanViews, type SpanView } from './span-view.js';
import { catchBody } from './testing/body-catcher.js';
import { sdkSpans } from './testing/sdk-spans.js';
import { readZipkinJson, ZIPKIN_START_ABSENT } from './zipkin.js';
import { ZIPKIN_LINKS_MAX } from './zipkin-texts.js';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const SPAN = { traceId: TRACE_ID, id: 'b7ad6b7169203331', timestamp: 1_700_000_000_000_001, duration: 5 };

/** The example of Zipkin's own API definition (zipkin2-api.yaml), with what it leaves out. */
const RECORDED = Buffer.from(
  `[{"id":"352bff9a74ca9ad2","traceId":"5af7183fb1d4cf5f","parentId":"6b221d5bc9e6496c","name":"get /api","timestamp":1556604172355737,
    "duration":1431,"kind":"SERVER","localEndpoint":{"serviceName":"backend","ipv4":"192.168.99.1","port":3306},
    "remoteEndpoint":{"serviceName":"frontend","ipv6":"2001:db8::c001","port":58648},
    "tags":{"http.method":"GET","http.path":"/api"},"annotations":[{"timestamp":1556604172355800,"value":"ws"}],"shared":true,"debug":true}]`,
);

function body(...spans: unknown[]): Buffer {
  return Buffer.from(JSON.stringify(spans));
}

function converted(span: object): SpanView {
  const { tracesData, rejected } = readZipkinJson(body({ ...SPAN, ...span }));
  expect(rejected).toEqual([]);
  return readSpanViews(tracesData)[0]!;
}

function attributesOf(span: object) {
  return { ...plainRecord(converted(span).attributes) };
}

describe('a recorded body', () => {
  test('comes out field by field', () => {
    const { tracesData, rejected, spanCount } = readZipkinJson(RECORDED);
    expect([rejected, spanCount]).toEqual([[], 1]);
    const span = readSpanViews(tracesData)[0]!;
    expect(span).toMatchObject({
      traceId: '00000000000000005af7183fb1d4cf5f',
      spanId: '352bff9a74ca9ad2',
      parentSpanId: '6b221d5bc9e6496c',
      name: 'get /api',
      kind: 2,
      startUnixNano: 1_556_604_172_355_737_000n,
      endUnixNano: 1_556_604_172_357_168_000n,
      service: 'backend',
      status: { code: 0, message: '' },
      events: [{ timeUnixNano: 1_556_604_172_355_800_000n, name: 'ws', attributes: [], droppedAttributesCount: 0 }],
      links: [],
    });
    expect({ ...plainRecord(span.attributes) }).toEqual({
      'http.method': 'GET',
      'http.path': '/api',
      'net.host.ip': '192.168.99.1',
      'net.host.port': 3306,
      'peer.service': 'frontend',
      'net.peer.ip': '2001:db8::c001',
      'net.peer.port': 58_648,
      'zipkin.shared': true,
      'zipkin.debug': true,
    });
    expect({ ...plainRecord(span.resource.attributes) }).toEqual({ 'service.name': 'backend' });
  });

  test('is, byte for byte, what it was before (golden)', () => {
    expect(readZipkinJson(RECORDED).tracesData.toString('base64')).toMatchInlineSnapshot(
      `"CtMCChsKGQoMc2VydmljZS5uYW1lEgkKB2JhY2tlbmQSswISsAIKEAAAAAAAAAAAWvcYP7HUz18SCDUr/5p0yprSIghrIh1byeZJbCoIZ2V0IC9hcGkwAjmolSddPyuaFUGAaz1dPyuaFVoNCcCLKF0/K5oVEgJ3c0oUCgtodHRwLm1ldGhvZBIFCgNHRVRKEwoJaHR0cC5wYXRoEgYKBC9hcGlKHQoLbmV0Lmhvc3QuaXASDgoMMTkyLjE2OC45OS4xShQKDW5ldC5ob3N0LnBvcnQSAxjqGUoaCgxwZWVyLnNlcnZpY2USCgoIZnJvbnRlbmRKHwoLbmV0LnBlZXIuaXASEAoOMjAwMTpkYjg6OmMwMDFKFQoNbmV0LnBlZXIucG9ydBIEGJjKA0oTCg16aXBraW4uc2hhcmVkEgIQAUoSCgx6aXBraW4uZGVidWcSAhAB"`,
    );
  });
});

describe("OpenTelemetry's own Zipkin exporter", () => {
  test('every span comes back equal, as far as Zipkin can carry it', async () => {
    const spans = sdkSpans();
    const { body: sent, contentType } = await catchBody((port) => {
      const exporter = new ZipkinExporter({ url: `http://127.0.0.1:${port}/api/v2/spans` });
      exporter.export(spans, () => {});
    });
    expect(contentType).toBe('application/json');
    const { tracesData, rejected, spanCount } = readZipkinJson(sent);
    expect([rejected, spanCount]).toEqual([[], spans.length]);
    const views = readSpanViews(tracesData);
    expect(views.map(({ spanId }) => spanId)).toEqual(spans.map((span) => span.spanContext().spanId));
    for (const [index, view] of views.entries()) {
      const span = spans[index]!;
      const micros = ([seconds, nanos]: readonly [number, number]) =>
        BigInt(seconds) * 1_000_000n + BigInt(Math.trunc(nanos / 1000));
      expect(view.traceId).toBe(span.spanContext().traceId);
      expect(view.parentSpanId).toBe(span.parentSpanContext?.spanId ?? null);
      expect(view.name).toBe(span.name);
      // Zipkin has no internal kind.
      expect(view.kind).toBe(span.kind === 0 ? 0 : span.kind + 1);
      expect(view.startUnixNano / 1000n).toBe(micros(span.startTime));
      expect(view.endUnixNano / 1000n).toBe(micros(span.endTime));
      expect({ ...plainRecord(view.attributes) }).toEqual(
        Object.fromEntries(Object.entries(span.attributes).map(([key, value]) => [key, String(value)])),
      );
      expect(view.droppedAttributesCount).toBe(span.droppedAttributesCount);
      expect(view.droppedEventsCount).toBe(span.droppedEventsCount);
      expect(view.events.map(({ name, timeUnixNano }) => [name, timeUnixNano / 1000n])).toEqual(
        span.events.map(({ name, time }) => [name, micros(time)]),
      );
      expect(view.status).toEqual({ code: span.status.code, message: span.status.message ?? '' });
      expect({ ...plainRecord(view.resource.attributes) }).toEqual(
        Object.fromEntries(Object.entries(span.resource.attributes).map(([key, value]) => [key, String(value)])),
      );
      expect(view.service).toBe('checkout');
    }
  });
});

describe('ids', () => {
  test('are padded on the left', () => {
    const span = converted({ traceId: 'abc', id: '1', parentId: '2' });
    expect([span.traceId, span.spanId, span.parentSpanId]).toEqual([
      `${'0'.repeat(29)}abc`,
      `${'0'.repeat(15)}1`,
      `${'0'.repeat(15)}2`,
    ]);
  });

  test('a span that is its own parent has none, nor one whose parent is zero', () => {
    expect(converted({ parentId: SPAN.id }).parentSpanId).toBeNull();
    expect(converted({ parentId: '0' }).parentSpanId).toBeNull();
    expect(converted({ parentId: null }).parentSpanId).toBeNull();
  });
});

describe('kind', () => {
  test.each([
    ['CLIENT', 3],
    ['SERVER', 2],
    ['PRODUCER', 4],
    ['CONSUMER', 5],
    ['client', 3],
    [undefined, 0],
  ])('%s', (kind, expected) => {
    expect(converted({ kind }).kind).toBe(expected);
  });

  test('internal, by tag', () => {
    expect(converted({ tags: { 'span.kind': 'internal' } })).toMatchObject({ kind: 1, attributes: [] });
    expect(converted({ tags: { 'span.kind': 'other' } })).toMatchObject({ kind: 0 });
  });
});

describe('status', () => {
  test.each<[string, object, { code: number; message: string }, object]>([
    ['none', {}, { code: 0, message: '' }, {}],
    ['an error without a text', { error: 'true' }, { code: 2, message: '' }, {}],
    ['an error of an empty text', { error: '' }, { code: 2, message: '' }, {}],
    ['an error with a text', { error: 'boom' }, { code: 2, message: 'boom' }, {}],
    ['no error, said so', { error: 'false' }, { code: 0, message: '' }, { error: 'false' }],
    ['OK', { 'otel.status_code': 'OK' }, { code: 1, message: '' }, {}],
    [
      'OK, although a tag says error',
      { 'otel.status_code': 'OK', error: 'x' },
      { code: 1, message: '' },
      { error: 'x' },
    ],
    [
      'the long name',
      { 'otel.status_code': 'STATUS_CODE_ERROR', 'otel.status_description': 'd' },
      { code: 2, message: 'd' },
      {},
    ],
    [
      'description and error',
      { 'otel.status_code': 'ERROR', 'otel.status_description': 'd', error: 'true' },
      { code: 2, message: 'd' },
      {},
    ],
    [
      'two different texts',
      { 'otel.status_code': 'ERROR', 'otel.status_description': 'd', error: 'e' },
      { code: 2, message: 'd' },
      { error: 'e' },
    ],
    ['a code that is none', { 'otel.status_code': 'MAYBE' }, { code: 0, message: '' }, { 'otel.status_code': 'MAYBE' }],
  ])('%s', (_, tags, status, left) => {
    const span = converted({ tags });
    expect(span.status).toEqual(status);
    expect({ ...plainRecord(span.attributes) }).toEqual(left);
  });
});

describe('times', () => {
  test('without a timestamp the span starts at zero and says so', () => {
    const span = converted({ timestamp: undefined });
    expect([span.startUnixNano, span.endUnixNano]).toEqual([0n, 5000n]);
    expect({ ...plainRecord(span.attributes) }).toEqual({ [ZIPKIN_START_ABSENT]: true });
  });

  test('without a duration it ends when it starts; fractions are cut off', () => {
    const span = converted({ timestamp: 1_700_000_000_000_000.5, duration: undefined });
    expect([span.startUnixNano, span.endUnixNano]).toEqual([1_700_000_000_000_000_000n, 1_700_000_000_000_000_000n]);
  });

  test('the largest microseconds still fit', () => {
    const span = converted({ timestamp: Number.MAX_SAFE_INTEGER, duration: Number.MAX_SAFE_INTEGER });
    expect(span.endUnixNano).toBe(BigInt(Number.MAX_SAFE_INTEGER) * 2000n);
  });
});

describe('tags', () => {
  test('are strings; numbers and booleans that some send keep their type', () => {
    expect(attributesOf({ tags: { a: 'ä€😀', n: 5, d: 0.5, b: false, e: '' } })).toEqual({
      a: 'ä€😀',
      n: 5,
      d: 0.5,
      b: false,
      e: '',
    });
  });

  test('of resource and scope go there, for each span its own', () => {
    const { tracesData } = readZipkinJson(
      body(
        {
          ...SPAN,
          localEndpoint: { serviceName: 'a' },
          tags: { 'host.name': 'h1', 'otel.scope.name': 's', 'otel.scope.version': '1', x: '1' },
        },
        { ...SPAN, localEndpoint: { serviceName: 'a' }, tags: { 'host.name': 'h2', 'otel.library.name': 's' } },
        { ...SPAN, localEndpoint: { serviceName: 'a' }, tags: { 'host.name': 'h2', 'otel.library.name': 's' } },
        { ...SPAN, tags: { 'service.version': '2' } },
      ),
    );
    const views = readSpanViews(tracesData);
    expect(views.map(({ resource }) => ({ ...plainRecord(resource.attributes) }))).toEqual([
      { 'service.name': 'a', 'host.name': 'h1' },
      { 'service.name': 'a', 'host.name': 'h2' },
      { 'service.name': 'a', 'host.name': 'h2' },
      { 'service.version': '2' },
    ]);
    expect(views.map(({ scope, service }) => [scope.name, scope.version, service])).toEqual([
      ['s', '1', 'a'],
      ['s', '', 'a'],
      ['s', '', 'a'],
      ['', '', 'unknown_service'],
    ]);
    expect(views[1]!.resource).toBe(views[2]!.resource);
    expect(plainRecord(views[0]!.attributes)).toEqual({ x: '1' });
  });

  test('do not let an endpoint write over them', () => {
    expect(
      attributesOf({ tags: { 'peer.service': 'tag' }, remoteEndpoint: { serviceName: 'endpoint', port: 0 } }),
    ).toEqual({ 'peer.service': 'tag' });
  });

  test('trace state and dropped counts become fields, unless they are no numbers', () => {
    const span = converted({
      tags: {
        'w3c.tracestate': 'a=b',
        'otel.dropped_attributes_count': '1',
        'otel.dropped_events_count': '2',
        'otel.dropped_links_count': 'x',
      },
    });
    expect(span).toMatchObject({
      traceState: 'a=b',
      droppedAttributesCount: 1,
      droppedEventsCount: 2,
      droppedLinksCount: 0,
    });
    expect(plainRecord(span.attributes)).toEqual({ 'otel.dropped_links_count': 'x' });
  });
});

describe('events and links in texts', () => {
  test('an annotation of the form of an event', () => {
    const events = (value: string) => converted({ annotations: [{ timestamp: 7, value }] }).events[0]!;
    const event = events('name|{"a":"x|y","n":1,"d":1.5,"b":true}|3');
    expect(event).toMatchObject({ timeUnixNano: 7000n, name: 'name', droppedAttributesCount: 3 });
    expect(plainRecord(event.attributes)).toEqual({ a: 'x|y', n: 1, d: 1.5, b: true });
    for (const plain of ['', 'a', 'a|b', 'a|{"x":1}', 'a|{broken}|0', 'a|[1]|0', 'a|{}|x']) {
      expect(events(plain)).toMatchObject({ name: plain, attributes: [] });
    }
  });

  test('a tag of the form of a link', () => {
    const link = `${TRACE_ID}|b7ad6b7169203331|a=b|{"k":"v|w"}|2`;
    const span = converted({
      tags: { 'otlp.link.0': link, 'otlp.link.1': 'no link', 'otlp.link.2': link, 'otlp.link.4': link },
    });
    expect(span.links).toHaveLength(2);
    expect(span.links[0]).toMatchObject({
      traceId: TRACE_ID,
      spanId: 'b7ad6b7169203331',
      traceState: 'a=b',
      droppedAttributesCount: 2,
    });
    expect(plainRecord(span.links[0]!.attributes)).toEqual({ k: 'v|w' });
    expect(Object.keys(plainRecord(span.attributes))).toEqual(['otlp.link.1', 'otlp.link.4']);
  });

  test('no more links than the exporter writes', () => {
    const link = `${TRACE_ID}|b7ad6b7169203331||{}|0`;
    const tags = Object.fromEntries(
      Array.from({ length: ZIPKIN_LINKS_MAX + 1 }, (_, index) => [`otlp.link.${index}`, link]),
    );
    const span = converted({ tags });
    expect([span.links.length, span.attributes.length]).toEqual([ZIPKIN_LINKS_MAX, 1]);
  });
});
