import { createRequire } from 'node:module';
import fc from 'fast-check';
import { MeridianError } from '../../runtime/errors.js';

/** The official protobuf definitions of OTLP as code that protobufjs generated, and random messages of theirs. */

/** What the tests use of a generated message class. */
interface GeneratedMessage {
  fromObject(value: object): object;
  encode(message: object): { finish(): Uint8Array };
  decode(bytes: Uint8Array): object;
  toObject(message: object, options: object): OfficialTracesData;
}

const require = createRequire(import.meta.url);
const root: {
  opentelemetry: { proto: { trace: { v1: { TracesData: GeneratedMessage } } } };
} = require('otlp-generated/build/src/generated/root.js');
const { TracesData } = root.opentelemetry.proto.trace.v1;

export interface OfficialTracesData {
  readonly resourceSpans: readonly {
    readonly resource: {
      attributes: readonly OfficialKeyValue[];
      droppedAttributesCount: number;
      entityRefs: readonly object[];
    } | null;
    readonly scopeSpans: readonly {
      readonly scope: {
        name: string;
        version: string;
        attributes: readonly OfficialKeyValue[];
        droppedAttributesCount: number;
      } | null;
      readonly spans: readonly OfficialSpan[];
      readonly schemaUrl: string;
    }[];
    readonly schemaUrl: string;
  }[];
}

export interface OfficialKeyValue {
  readonly key: string;
  readonly value: OfficialAnyValue | null;
}

export interface OfficialAnyValue {
  readonly value?: string;
  readonly stringValue?: string;
  readonly boolValue?: boolean;
  readonly intValue?: string;
  readonly doubleValue?: number;
  readonly arrayValue?: { readonly values: readonly OfficialAnyValue[] };
  readonly kvlistValue?: { readonly values: readonly OfficialKeyValue[] };
  readonly bytesValue?: string;
}

export interface OfficialSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceState: string;
  readonly parentSpanId: string;
  readonly flags: number;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly OfficialKeyValue[];
  readonly droppedAttributesCount: number;
  readonly events: readonly {
    timeUnixNano: string;
    name: string;
    attributes: readonly OfficialKeyValue[];
    droppedAttributesCount: number;
  }[];
  readonly droppedEventsCount: number;
  readonly links: readonly {
    traceId: string;
    spanId: string;
    traceState: string;
    attributes: readonly OfficialKeyValue[];
    droppedAttributesCount: number;
    flags: number;
  }[];
  readonly droppedLinksCount: number;
  readonly status: { message: string; code: number } | null;
}

export function officialEncode(tracesData: object): Buffer {
  return Buffer.from(TracesData.encode(TracesData.fromObject(tracesData)).finish());
}

/** Longs as decimal strings, bytes as base64, defaults filled in. */
export function officialDecode(bytes: Buffer): OfficialTracesData {
  return TracesData.toObject(TracesData.decode(bytes), {
    longs: String,
    bytes: String,
    defaults: true,
    arrays: true,
    oneofs: true,
  });
}

/** All spans of a decoded message. */
export function officialSpans(bytes: Buffer): OfficialSpan[] {
  return officialDecode(bytes).resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans));
}

/** The same with an absent status, resource or scope and an empty one made alike: conversions may turn one into the other. */
export function normalized(data: OfficialTracesData): unknown {
  return data.resourceSpans.map(({ resource, scopeSpans, schemaUrl }) => ({
    resource: resource ?? { attributes: [], droppedAttributesCount: 0, entityRefs: [] },
    schemaUrl,
    scopeSpans: scopeSpans.map(({ scope, spans, schemaUrl: scopeSchemaUrl }) => ({
      scope: scope ?? { name: '', version: '', attributes: [], droppedAttributesCount: 0 },
      schemaUrl: scopeSchemaUrl,
      spans: spans.map((span) => ({ ...span, status: span.status ?? { message: '', code: 0 } })),
    })),
  }));
}

export function hexOf(base64: string): string {
  return Buffer.from(base64, 'base64').toString('hex');
}

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.string({ maxLength: 20 }),
  fc.constantFrom('', 'ü€😀', 'x'.repeat(300)),
);
const uint32 = fc.oneof(fc.constant(0), fc.nat({ max: 0xffff_ffff }), fc.constant(0xffff_ffff));
const uint64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }).map(String);
const int64 = fc
  .oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.constantFrom(0n, -1n, 2n ** 53n - 1n, 2n ** 53n, -(2n ** 53n), 1n - 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)),
  )
  .map(String);
const bytesOf = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => {
    bytes[length - 1] = bytes[length - 1]! | 1;
    return Buffer.from(bytes);
  });

const { anyValue } = fc.letrec<{ anyValue: object; keyValue: object }>((tie) => ({
  anyValue: fc.oneof(
    { maxDepth: 4 },
    fc.record({ stringValue: text }),
    fc.record({ boolValue: fc.boolean() }),
    fc.record({ intValue: int64 }),
    fc.record({ doubleValue: fc.double() }),
    fc.record({ bytesValue: fc.uint8Array({ maxLength: 20 }) }),
    fc.constant({}),
    fc.record({ arrayValue: fc.record({ values: fc.array(tie('anyValue'), { maxLength: 3 }) }) }),
    fc.record({ kvlistValue: fc.record({ values: fc.array(tie('keyValue'), { maxLength: 3 }) }) }),
  ),
  keyValue: fc.record({ key: text, value: tie('anyValue') }),
}));

export const attributesArbitrary = fc.array(fc.record({ key: text, value: anyValue }), { maxLength: 6 });

const spanArbitrary = fc.record({
  traceId: bytesOf(16),
  spanId: bytesOf(8),
  traceState: text,
  parentSpanId: fc.oneof(fc.constant(Buffer.alloc(0)), bytesOf(8)),
  flags: uint32,
  name: text,
  kind: fc.nat({ max: 5 }),
  startTimeUnixNano: uint64,
  endTimeUnixNano: uint64,
  attributes: attributesArbitrary,
  droppedAttributesCount: uint32,
  events: fc.array(
    fc.record({ timeUnixNano: uint64, name: text, attributes: attributesArbitrary, droppedAttributesCount: uint32 }),
    { maxLength: 3 },
  ),
  droppedEventsCount: uint32,
  links: fc.array(
    fc.record({
      traceId: bytesOf(16),
      spanId: bytesOf(8),
      traceState: text,
      attributes: attributesArbitrary,
      droppedAttributesCount: uint32,
      flags: uint32,
    }),
    { maxLength: 2 },
  ),
  droppedLinksCount: uint32,
  status: fc.option(fc.record({ message: text, code: fc.nat({ max: 2 }) })),
});

/** Random `TracesData`, every scope with a span at least, as `officialEncode` takes them. */
export const tracesDataArbitrary = fc.record({
  resourceSpans: fc.array(
    fc.record({
      resource: fc.option(
        fc.record({
          attributes: attributesArbitrary,
          droppedAttributesCount: uint32,
          entityRefs: fc.array(
            fc.record({
              schemaUrl: text,
              type: text,
              idKeys: fc.array(text, { maxLength: 2 }),
              descriptionKeys: fc.array(text, { maxLength: 2 }),
            }),
            { maxLength: 1 },
          ),
        }),
      ),
      schemaUrl: text,
      scopeSpans: fc.array(
        fc.record({
          scope: fc.option(
            fc.record({ name: text, version: text, attributes: attributesArbitrary, droppedAttributesCount: uint32 }),
          ),
          schemaUrl: text,
          spans: fc.array(spanArbitrary, { minLength: 1, maxLength: 3 }),
        }),
        { minLength: 1, maxLength: 2 },
      ),
    }),
    { maxLength: 3 },
  ),
});

/** The MeridianError that `run` throws, null where it throws none; anything else thrown goes on. */
export function meridianErrorOf(run: () => unknown): MeridianError | null {
  try {
    run();
    return null;
  } catch (error) {
    if (error instanceof MeridianError) return error;
    throw error;
  }
}

/** Bodies for fuzzing: random bytes, and `valid` ones cut, with bytes changed, removed, repeated. */
export function hostileBytes(valid: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const body = fc.constantFrom(...valid);
  return fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    fc.tuple(body, fc.nat()).map(([bytes, cut]) => bytes.subarray(0, cut % (bytes.length + 1))),
    fc
      .tuple(body, fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 6 }))
      .map(([bytes, changes]) => {
        const changed = Buffer.from(bytes);
        for (const [at, value] of changes) changed[at % changed.length] = value;
        return changed;
      }),
    fc.tuple(body, fc.nat(), fc.nat({ max: 20 })).map(([bytes, at, length]) => {
      const start = at % bytes.length;
      return Buffer.concat([bytes.subarray(0, start), bytes.subarray(start + length)]);
    }),
    fc.tuple(body, fc.nat(), fc.nat({ max: 40 })).map(([bytes, at, length]) => {
      const start = at % bytes.length;
      return Buffer.concat([bytes.subarray(0, start + length), bytes.subarray(start)]);
    }),
  );
}
