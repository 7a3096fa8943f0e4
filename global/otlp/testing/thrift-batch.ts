import { createRequire } from 'node:module';

/** Jaeger batches written with Apache Thrift's own Node library, in either protocol. */

interface ThriftProtocolWriter {
  writeStructBegin(name: string): void;
  writeStructEnd(): void;
  writeFieldBegin(name: string, type: number, id: number): void;
  writeFieldEnd(): void;
  writeFieldStop(): void;
  writeListBegin(type: number, count: number): void;
  writeListEnd(): void;
  writeMapBegin(keyType: number, valueType: number, count: number): void;
  writeMapEnd(): void;
  writeSetBegin(type: number, count: number): void;
  writeSetEnd(): void;
  writeBool(value: boolean): void;
  writeByte(value: number): void;
  writeI16(value: number): void;
  writeI32(value: number): void;
  writeI64(value: object): void;
  writeDouble(value: number): void;
  writeString(value: string | Buffer): void;
  writeBinary(value: Buffer): void;
  flush(): void;
}

type ProtocolClass = new (transport: object) => ThriftProtocolWriter;

const require = createRequire(import.meta.url);
const thrift: {
  TBufferedTransport: new (buffer: undefined, onFlush: (bytes: Buffer) => void) => object;
  TBinaryProtocol: ProtocolClass;
  TCompactProtocol: ProtocolClass;
  Int64: new (bytes: Buffer) => object;
} = require('thrift');

const Type = {
  bool: 2,
  byte: 3,
  double: 4,
  i16: 6,
  i32: 8,
  i64: 10,
  string: 11,
  struct: 12,
  map: 13,
  set: 14,
  list: 15,
} as const;

export type TestTag = { key: string; value: string | number | boolean | bigint | Buffer };

export interface TestSpan {
  traceIdLow: bigint;
  traceIdHigh: bigint;
  spanId: bigint;
  parentSpanId: bigint;
  operationName: string;
  references?: readonly { refType: number; traceIdLow: bigint; traceIdHigh: bigint; spanId: bigint }[];
  flags: number;
  startTime: bigint;
  duration: bigint;
  tags?: readonly TestTag[];
  logs?: readonly { timestamp: bigint; fields: readonly TestTag[] }[];
}

export interface TestBatch {
  process: { serviceName: string; tags?: readonly TestTag[] };
  spans: readonly TestSpan[];
}

export const PROTOCOLS = ['binary', 'compact'] as const;

export const SPAN: TestSpan = {
  traceIdLow: 0x8448_eb21_1c80_319cn,
  traceIdHigh: 0x0af7_6519_16cd_43ddn,
  spanId: 0x1122_3344_5566_7788n,
  parentSpanId: 0n,
  operationName: 'op',
  flags: 1,
  startTime: 1_700_000_000_000_001n,
  duration: 5n,
};

/** A batch of spans that differ from `SPAN` in what is given. */
export function batchOf(...spans: Partial<TestSpan>[]): TestBatch {
  return { process: { serviceName: 'checkout' }, spans: spans.map((span) => ({ ...SPAN, ...span })) };
}

export interface BatchOptions {
  /** Spans before the process, and fields that no definition has in every struct. */
  readonly unusual?: boolean;
}

export function thriftBatch(protocol: 'binary' | 'compact', batch: TestBatch, options: BatchOptions = {}): Buffer {
  let result: Buffer | null = null;
  const transport = new thrift.TBufferedTransport(undefined, (bytes) => {
    result = bytes;
  });
  const out = new (protocol === 'binary' ? thrift.TBinaryProtocol : thrift.TCompactProtocol)(transport);
  new BatchWriter(out, options.unusual === true).batch(batch);
  out.flush();
  if (result === null) throw new Error('thrift wrote nothing');
  return Buffer.from(result);
}

class BatchWriter {
  constructor(
    private readonly out: ThriftProtocolWriter,
    private readonly unusual: boolean,
  ) {}

  batch({ process, spans }: TestBatch): void {
    const writeProcess = () =>
      this.field('process', Type.struct, 1, () =>
        this.struct(() => {
          this.field('serviceName', Type.string, 1, () => this.out.writeString(process.serviceName));
          if (process.tags !== undefined) this.list('tags', 2, process.tags, (tag) => this.tag(tag));
        }),
      );
    const writeSpans = () => this.list('spans', 2, spans, (span) => this.span(span));
    this.struct(() => {
      if (this.unusual) writeSpans();
      writeProcess();
      if (!this.unusual) writeSpans();
    });
  }

  private span(span: TestSpan): void {
    this.struct(() => {
      this.i64('traceIdLow', 1, span.traceIdLow);
      this.i64('traceIdHigh', 2, span.traceIdHigh);
      this.i64('spanId', 3, span.spanId);
      this.i64('parentSpanId', 4, span.parentSpanId);
      this.field('operationName', Type.string, 5, () => this.out.writeString(span.operationName));
      if (span.references !== undefined) {
        this.list('references', 6, span.references, (reference) =>
          this.struct(() => {
            this.field('refType', Type.i32, 1, () => this.out.writeI32(reference.refType));
            this.i64('traceIdLow', 2, reference.traceIdLow);
            this.i64('traceIdHigh', 3, reference.traceIdHigh);
            this.i64('spanId', 4, reference.spanId);
          }),
        );
      }
      this.field('flags', Type.i32, 7, () => this.out.writeI32(span.flags));
      this.i64('startTime', 8, span.startTime);
      this.i64('duration', 9, span.duration);
      if (span.tags !== undefined) this.list('tags', 10, span.tags, (tag) => this.tag(tag));
      if (span.logs !== undefined) {
        this.list('logs', 11, span.logs, (log) =>
          this.struct(() => {
            this.i64('timestamp', 1, log.timestamp);
            this.list('fields', 2, log.fields, (tag) => this.tag(tag));
          }),
        );
      }
    });
  }

  private tag({ key, value }: TestTag): void {
    const { out } = this;
    this.struct(() => {
      this.field('key', Type.string, 1, () => out.writeString(key));
      const [type, write] = this.tagValue(value);
      this.field('vType', Type.i32, 2, () => out.writeI32(type));
      write();
    });
  }

  private tagValue(value: TestTag['value']): [number, () => void] {
    const { out } = this;
    if (typeof value === 'string') return [0, () => this.field('vStr', Type.string, 3, () => out.writeString(value))];
    if (typeof value === 'number')
      return [1, () => this.field('vDouble', Type.double, 4, () => out.writeDouble(value))];
    if (typeof value === 'boolean') return [2, () => this.field('vBool', Type.bool, 5, () => out.writeBool(value))];
    if (typeof value === 'bigint') return [3, () => this.i64('vLong', 6, value)];
    return [4, () => this.field('vBinary', Type.string, 7, () => out.writeBinary(value))];
  }

  private struct(write: () => void): void {
    this.out.writeStructBegin('');
    write();
    if (this.unusual) this.unknownFields();
    this.out.writeFieldStop();
    this.out.writeStructEnd();
  }

  /** A field of every type, numbered as no definition does, and field 3 of a type that it does not have. */
  private unknownFields(): void {
    const { out } = this;
    this.field('bool', Type.bool, 101, () => out.writeBool(true));
    this.field('byte', Type.byte, 102, () => out.writeByte(1));
    this.field('double', Type.double, 103, () => out.writeDouble(1));
    this.field('i16', Type.i16, 104, () => out.writeI16(-1));
    this.field('i32', Type.i32, 105, () => out.writeI32(-1));
    this.field('i64', Type.i64, 106, () => out.writeI64(int64(-1n)));
    this.field('string', Type.string, 107, () => out.writeString('x'));
    this.field('map', Type.map, 108, () => {
      out.writeMapBegin(Type.string, Type.bool, 1);
      out.writeString('k');
      out.writeBool(false);
      out.writeMapEnd();
    });
    this.field('empty map', Type.map, 109, () => {
      out.writeMapBegin(Type.string, Type.bool, 0);
      out.writeMapEnd();
    });
    this.field('set', Type.set, 110, () => {
      out.writeSetBegin(Type.bool, 2);
      out.writeBool(true);
      out.writeBool(false);
      out.writeSetEnd();
    });
    this.field('list of 20', Type.list, 111, () => {
      out.writeListBegin(Type.i32, 20);
      for (let index = 0; index < 20; index++) out.writeI32(index);
      out.writeListEnd();
    });
    this.field('struct', Type.struct, 112, () => {
      out.writeStructBegin('');
      this.field('far', Type.i32, 3000, () => out.writeI32(1));
      out.writeFieldStop();
      out.writeStructEnd();
    });
    this.field('of another type', Type.byte, 3, () => out.writeByte(1));
  }

  private i64(name: string, id: number, value: bigint): void {
    this.field(name, Type.i64, id, () => this.out.writeI64(int64(value)));
  }

  private list<T>(name: string, id: number, items: readonly T[], write: (item: T) => void): void {
    this.field(name, Type.list, id, () => {
      this.out.writeListBegin(Type.struct, items.length);
      for (const item of items) write(item);
      this.out.writeListEnd();
    });
  }

  private field(name: string, type: number, id: number, write: () => void): void {
    this.out.writeFieldBegin(name, type, id);
    write();
    this.out.writeFieldEnd();
  }
}

function int64(value: bigint): object {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(BigInt.asIntN(64, value));
  return new thrift.Int64(bytes);
}
