import { isUtf8 } from 'node:buffer';
import { LIMITS } from '../model/limits.js';
import { MeridianError, messageOf } from '../runtime/errors.js';
import type { ProtoWriter } from './proto-writer.js';
import type { RejectedSpan } from './verdict.js';

/**
 * What every conversion at the edge makes of a request's body: `(body: Buffer) => Conversion`. The body stays the caller's and is
 * only read. A request that can not be read at all is a MeridianError (`malformed`, `invalid` or `too-large`, retry never).
 */
export interface Conversion {
  /** OTLP `TracesData`, the spans in the request's order; empty where none is left. Owned by the caller. */
  readonly tracesData: Buffer;
  /** Spans that could not be converted, by their place in the request (from 0, in the request's order), ascending. */
  readonly rejected: readonly RejectedSpan[];
  /** Spans in `tracesData`. */
  readonly spanCount: number;
}

/**
 * Thrown while one span is converted, caught by `SpanTally`: that span is left out and named. Not an Error: a request may hold 100,000
 * such spans, and a stack for each would cost more than the conversion.
 */
export class SpanRejection {
  constructor(
    readonly code: 'malformed' | 'invalid',
    readonly message: string,
  ) {}
}

/** Counts a request's spans, bounds them, and turns the rejection of one of them into a line of the answer. */
export class SpanTally {
  private readonly rejected: RejectedSpan[] = [];
  private index = 0;

  constructor(
    private readonly what: string,
    private readonly spansMax: number = LIMITS.spansPerRequestMax,
  ) {}

  /** Converts the next span into `writer`, which is left as it was where the span is rejected. */
  convert(writer: ProtoWriter, write: () => void): void {
    const index = this.index++;
    if (index >= this.spansMax) {
      throw new MeridianError('too-large', `reading ${this.what}: more than ${this.spansMax} spans`, 'never');
    }
    const mark = writer.length;
    try {
      write();
    } catch (thrown) {
      if (!(thrown instanceof SpanRejection)) throw thrown;
      writer.rollback(mark);
      this.rejected.push({ index, code: thrown.code, message: thrown.message });
    }
  }

  finish(tracesData: Buffer): Conversion {
    const spanCount = this.index - this.rejected.length;
    return { tracesData: spanCount === 0 ? Buffer.alloc(0) : tracesData, rejected: this.rejected, spanCount };
  }
}

/**
 * Writes spans in their order, in one ScopeSpans for each run of spans of the same scope. (Not one for each scope: the checks
 * that follow name a span by its place, so conversions keep the request's order.)
 */
export class ScopeRuns {
  private open = -1;
  private name = '';
  private version = '';

  constructor(private readonly writer: ProtoWriter) {}

  /** `span`: the content of a Span message. */
  append(scopeName: string, scopeVersion: string, span: Uint8Array): void {
    const { writer } = this;
    if (this.open < 0 || scopeName !== this.name || scopeVersion !== this.version) {
      this.close();
      this.open = writer.begin(2);
      this.name = scopeName;
      this.version = scopeVersion;
      if (scopeName !== '' || scopeVersion !== '') {
        const scope = writer.begin(1);
        if (scopeName !== '') writer.stringField(1, scopeName);
        if (scopeVersion !== '') writer.stringField(2, scopeVersion);
        writer.end(scope);
      }
    }
    writer.bytesField(2, span);
  }

  close(): void {
    if (this.open >= 0) this.writer.end(this.open);
    this.open = -1;
  }
}

/** The same with one ResourceSpans for each run of spans of the same resource. */
export class ResourceRuns {
  private readonly scopes: ScopeRuns;
  private open = -1;
  private key = '';

  constructor(private readonly writer: ProtoWriter) {
    this.scopes = new ScopeRuns(writer);
  }

  /** `resourceKey` tells resources apart; `writeResource` writes the fields of the Resource message. */
  append(
    resourceKey: string,
    writeResource: (writer: ProtoWriter) => void,
    scopeName: string,
    scopeVersion: string,
    span: Uint8Array,
  ): void {
    if (this.open < 0 || resourceKey !== this.key) {
      this.close();
      this.key = resourceKey;
      this.open = this.writer.begin(1);
      const resource = this.writer.begin(1);
      writeResource(this.writer);
      this.writer.end(resource);
    }
    this.scopes.append(scopeName, scopeVersion, span);
  }

  close(): void {
    this.scopes.close();
    if (this.open >= 0) this.writer.end(this.open);
    this.open = -1;
  }
}

/**
 * The value of a JSON body. Refuses bodies that are larger than a request may be, that are not UTF-8, or that hold more arrays and objects than
 * any request of spans does (an empty array is 2 bytes sent and 16 or more held).
 */
export function parseJsonBody(body: Buffer, what: string, adapt: (text: string) => string = (text) => text): unknown {
  checkBodySize(body, what);
  if (body.length > CONTAINERS_COUNTED_FROM_BYTES) {
    let containers = 0;
    for (let at = 0; at < body.length; at++) {
      const byte = body[at];
      if (byte === 0x7b || byte === 0x5b) containers++;
    }
    if (containers > JSON_CONTAINERS_MAX) {
      throw new MeridianError(
        'too-large',
        `reading ${what}: more than ${JSON_CONTAINERS_MAX} arrays and objects`,
        'never',
      );
    }
  }
  if (!isUtf8(body)) throw new MeridianError('malformed', `reading ${what}: the body is not UTF-8`, 'never');
  const start = body.length >= 3 && body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? 3 : 0;
  try {
    return JSON.parse(adapt(body.toString('utf8', start)));
  } catch (error) {
    throw new MeridianError('malformed', `reading ${what}: ${messageOf(error)}`, 'never');
  }
}

/** Runs `read`; a rejection that concerns no single span concerns the request. */
export function rejectWhole<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (thrown) {
    if (!(thrown instanceof SpanRejection)) throw thrown;
    throw new MeridianError(thrown.code, `reading ${what}: ${thrown.message}`, 'never');
  }
}

/** Refuses a body beyond the size that a request may inflate to. */
export function checkBodySize(body: Buffer, what: string, bytesMax: number = LIMITS.requestInflatedBytesMax): void {
  if (body.length <= bytesMax) return;
  throw new MeridianError('too-large', `reading ${what}: ${body.length} bytes, more than ${bytesMax}`, 'never');
}

const CONTAINERS_COUNTED_FROM_BYTES = 1024 * 1024;
export const JSON_CONTAINERS_MAX = 6_000_000;

export type JsonObject = { readonly [key: string]: unknown };

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
