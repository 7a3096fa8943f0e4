/**
 * Realistic OTLP batches for benchmarks and load: deterministic (the same options give the same bytes), made by a small
 * encoder of its own, so that what is measured was not written by the code under measurement.
 * Format: opentelemetry-proto v1 `trace.proto`.
 */
export interface SampleBatchOptions {
  readonly spans: number;
  /** Mean size of a span's message; reached by the length of one attribute. Below about 330 it cannot be reached. Default 430. */
  readonly bytesPerSpan?: number;
  /** The spans are dealt to this many traces in turn (as a busy service's batch interleaves them). Default `ceil(spans / 10)`. */
  readonly tracesPerBatch?: number;
  /** How many of the attributes have a value that no other span has (from 0 to 4). Default 1. */
  readonly uniqueAttributesPerSpan?: number;
  /** Resources (services) in the batch. Default 1. */
  readonly services?: number;
  /** Any integer; different seeds give different ids and values. */
  readonly seed: number;
  /** Start of the first span. Default 2026-11-20T12:00:00Z. Spans start within the second after it. */
  readonly startUnixNano?: bigint;
  /** Share of spans with status error. Default 0.02. */
  readonly errorShare?: number;
}

/** Default of `startUnixNano`. */
export const SAMPLE_START_UNIX_NANO = 1_795_176_000_000_000_000n;

const SERVICES = ['gateway', 'orders', 'payments', 'inventory', 'shipping', 'users', 'search', 'pricing'];
const ROUTES = ['/v1/orders/{id}', '/v1/carts/{id}/items', '/v1/users/{id}', '/v1/search', '/v1/prices/{sku}'];
const METHODS = ['GET', 'POST', 'PUT', 'DELETE'];
const TENANTS = ['acme', 'globex', 'initech', 'umbrella', 'stark', 'wayne', 'hooli', 'vandelay'];

/** One `TracesData` message; its own memory. */
export function makeBatch(options: SampleBatchOptions): Buffer {
  const random = mulberry32(options.seed);
  const services = options.services ?? 1;
  const traces = options.tracesPerBatch ?? Math.max(1, Math.ceil(options.spans / 10));
  const traceIds = Array.from({ length: traces }, () => randomBytes(random, 16));
  const lastSpan: (Buffer | null)[] = new Array(traces).fill(null);
  const spansOf: Buffer[][] = Array.from({ length: services }, () => []);
  for (let i = 0; i < options.spans; i++) {
    const trace = i % traces;
    const spanId = randomBytes(random, 8);
    spansOf[i % services]!.push(encodeSpan(options, random, i, traceIds[trace]!, spanId, lastSpan[trace]!));
    lastSpan[trace] = spanId;
  }
  const parts: Buffer[] = [];
  spansOf.forEach((spans, s) => {
    if (spans.length === 0) return;
    const scopeSpans = Buffer.concat([
      field(1, Buffer.concat([text(1, '@opentelemetry/instrumentation-http'), text(2, '0.223.0')])),
      ...spans.map((span) => field(2, span)),
    ]);
    const schema = text(3, 'https://opentelemetry.io/schemas/1.37.0');
    parts.push(field(1, Buffer.concat([field(1, encodeResource(s)), field(2, scopeSpans), schema])));
  });
  return Buffer.concat(parts);
}

function encodeResource(service: number): Buffer {
  const name = SERVICES[service % SERVICES.length]! + (service >= SERVICES.length ? `-${service}` : '');
  return Buffer.concat([
    attribute(1, 'service.name', textValue(name)),
    attribute(1, 'service.version', textValue('4.12.1')),
    attribute(1, 'service.instance.id', textValue(`${name}-6f7c9d5b8c-x2x${service}`)),
    attribute(1, 'host.name', textValue('ip-10-0-17-203.ec2.internal')),
    attribute(1, 'cloud.region', textValue('us-east-1')),
    attribute(1, 'telemetry.sdk.language', textValue('nodejs')),
    attribute(1, 'telemetry.sdk.version', textValue('2.12.0')),
  ]);
}

function encodeSpan(
  options: SampleBatchOptions,
  random: () => number,
  index: number,
  traceId: Buffer,
  spanId: Buffer,
  parent: Buffer | null,
): Buffer {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const unique = options.uniqueAttributesPerSpan ?? 1;
  const id = (n: number, shared: string): string => (n < unique ? randomBytes(random, 8).toString('hex') : shared);
  const start =
    (options.startUnixNano ?? SAMPLE_START_UNIX_NANO) + BigInt(index) * 1_000_000n + BigInt(Math.floor(random() * 1e6));
  const end = start + BigInt(Math.floor(200_000 + random() * 80_000_000));
  const failed = random() < (options.errorShare ?? 0.02);
  const route = pick(ROUTES);
  const method = pick(METHODS);
  const pieces = [
    field(1, traceId),
    field(2, spanId),
    ...(parent ? [field(4, parent)] : []),
    text(5, `${method} ${route}`),
    varintField(6, parent ? 1 + Math.floor(random() * 3) : 2),
    fixed64(7, start),
    fixed64(8, end),
    attribute(9, 'http.request.method', textValue(method)),
    attribute(9, 'http.route', textValue(route)),
    attribute(9, 'http.response.status_code', intValue(failed ? 500 : 200)),
    attribute(9, 'server.port', intValue(8080)),
    attribute(9, 'tenant', textValue(pick(TENANTS))),
    attribute(9, 'request.id', textValue(id(0, 'a1b2c3d4e5f60718'))),
    attribute(9, 'customer.id', textValue(id(1, 'c-10442'))),
    attribute(9, 'order.id', textValue(id(2, 'o-77'))),
    attribute(9, 'cache.hit', boolValue(random() < 0.5)),
    attribute(9, 'session.id', textValue(id(3, 's-1'))),
    ...(failed ? [field(15, Buffer.concat([text(2, 'upstream timed out'), varintField(3, 2)]))] : []),
    fixed32(16, 0x101),
  ];
  const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
  // "url.path" pads the span to the asked mean: tag, lengths and key cost about 16 bytes.
  const jitter = Math.floor((random() - 0.5) * 24);
  const padding = Math.max(1, (options.bytesPerSpan ?? 430) - size - 16 + jitter);
  pieces.push(attribute(9, 'url.path', textValue(`/v1/${'resource-'.repeat(1 + padding / 9)}`.slice(0, padding))));
  return Buffer.concat(pieces);
}

function attribute(fieldNumber: number, key: string, value: Buffer): Buffer {
  return field(fieldNumber, Buffer.concat([text(1, key), field(2, value)]));
}

const textValue = (value: string): Buffer => text(1, value);
const boolValue = (value: boolean): Buffer => varintField(2, value ? 1 : 0);
const intValue = (value: number): Buffer => varintField(3, value);

function text(fieldNumber: number, value: string): Buffer {
  return field(fieldNumber, Buffer.from(value));
}

function field(fieldNumber: number, content: Buffer): Buffer {
  return Buffer.concat([varint((fieldNumber << 3) | 2), varint(content.length), content]);
}

function varintField(fieldNumber: number, value: number): Buffer {
  return Buffer.concat([varint(fieldNumber << 3), varint(value)]);
}

function fixed64(fieldNumber: number, value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return Buffer.concat([varint((fieldNumber << 3) | 1), bytes]);
}

function fixed32(fieldNumber: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return Buffer.concat([varint((fieldNumber << 3) | 5), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest & 127) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

function randomBytes(random: () => number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = Math.floor(random() * 256);
  if (bytes.every((byte) => byte === 0)) bytes[0] = 1;
  return bytes;
}

/** A small seeded generator (mulberry32, public domain, T. Ettinger): uniform in [0, 1). */
export function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
