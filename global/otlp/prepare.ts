import { LIMITS } from '../model/limits.js';
import { MeridianError } from '../runtime/errors.js';
import { checkSpan, isImplausibleStart } from './check.js';
import {
  type CheckContext,
  checkMessage,
  isText,
  type MessageRules,
  RESOURCE_RULES,
  SCOPE_RULES,
  wrongWireType,
} from './check-message.js';
import type { Redactor } from './redact.js';
import { headerOf, Regrouping } from './regroup.js';
import { Tag } from './scan.js';
import { AsciiScan } from './utf8.js';
import { describeVerdict, findings, type RejectedSpan, Verdict } from './verdict.js';
import { cursor, encodeBytesField, readLengthEnd, readTag, skipValue } from './wire.js';

export interface PrepareOptions {
  /** At least 1. */
  readonly partitionCount: number;
  /** The partition (0 to `partitionCount - 1`) of the trace whose 16 raw id bytes stand at `at`. */
  readonly partitionOf: (bytes: Buffer, at: number) => number;
  readonly redactor: Redactor;
  /** A batch of more spans is refused as a whole. */
  readonly spanCountMax: number;
  /** Bytes of resources and scopes, counted once for each span under them; beyond it a batch is refused. Default: LIMITS. */
  readonly headerBytesMax?: number;
  /** Wall clock, for `implausibleTimeCount`; without it nothing is counted. */
  readonly nowMs?: number;
}

export interface PreparedBatch {
  /** All spans seen: accepted and rejected. */
  readonly spanCount: number;
  readonly acceptedCount: number;
  readonly rejectedCount: number;
  /** The first 100 rejected spans, in order. */
  readonly rejected: readonly RejectedSpan[];
  /** Accepted spans whose bytes redaction changed (a change of a resource or a scope alone is not counted). */
  readonly redactedCount: number;
  /** Accepted spans that start implausibly far from `nowMs` (see `isImplausibleStart`). */
  readonly implausibleTimeCount: number;
  /** In order of the partition; only those that got spans. */
  readonly partitions: readonly PreparedPartition[];
}

export interface PreparedPartition {
  readonly partition: number;
  /** Its own memory: a `TracesData` with the spans of the partition, under their resources and scopes. */
  readonly bytes: Buffer;
  readonly spanCount: number;
}

/** How many rejected spans are kept by name; the others are counted. */
export const REJECTED_NAMED_MAX = 100;

/**
 * Everything the collector does to the bytes of a request: checks each span, redacts, and splits the batch by log partition. Spans
 * that need no change are copied byte for byte, ResourceSpans and ScopeSpans that go to one partition as a whole likewise; an
 * 8-byte trace id is padded to 16. A bad resource or scope rejects the spans under it, a bad span itself only.
 *
 * Throws MeridianError `malformed` (never retry) where the bytes are no `TracesData`, `too-large` for more than `spanCountMax` spans, or for
 * resources so large that dealing their spans to partitions and traces would multiply the batch. The body is not kept. Linear in its bytes.
 */
export function prepareBatch(body: Buffer, options: PrepareOptions): PreparedBatch {
  return new Preparation(body, options).run();
}

/** One for all batches, as preparing is synchronous; left out while in use, in case `partitionOf` should come back here. */
let spare: Regrouping | null = new Regrouping();

class Preparation {
  readonly #body: Buffer;
  readonly #options: PrepareOptions;
  readonly #redactor: Redactor;
  readonly #suspects: { any(from: number, to: number): boolean };
  readonly #groups: Regrouping;
  readonly #context: CheckContext;
  readonly #rejected: RejectedSpan[] = [];
  readonly #headerBytesMax: number;
  #resourceHeaderBytes = 0;
  #scopeHeaderBytes = 0;
  #headerBytes = 0;
  #spanCount = 0;
  #redactedCount = 0;
  #implausibleCount = 0;

  constructor(body: Buffer, options: PrepareOptions) {
    this.#body = body;
    this.#options = options;
    this.#redactor = options.redactor;
    this.#headerBytesMax = options.headerBytesMax ?? LIMITS.headerBytesTimesSpansMax;
    this.#suspects = options.redactor.inspect(body);
    this.#context = { ascii: new AsciiScan(body), keys: options.redactor.keys };
    this.#groups = spare ?? new Regrouping();
    spare = null;
  }

  run(): PreparedBatch {
    const body = this.#body;
    const groups = this.#groups;
    try {
      groups.begin(body);
      for (let p = 0; p < body.length; ) {
        const from = p;
        const tag = readTag(body, p, body.length);
        p = skipValue(body, tag, cursor.at, body.length);
        if (tag === Tag.resourceSpans) this.#resourceSpans(from, cursor.at, p);
        else if (tag >>> 3 === 1) wrongWireType(from, tag);
      }
      const acceptedCount = groups.spanCount;
      const written = groups.write(this.#options.partitionCount);
      return {
        spanCount: this.#spanCount,
        acceptedCount,
        rejectedCount: this.#spanCount - acceptedCount,
        rejected: this.#rejected,
        redactedCount: this.#redactedCount,
        implausibleTimeCount: this.#implausibleCount,
        partitions: written.map(({ group, bytes, spanCount }) => ({ partition: group, bytes, spanCount })),
      };
    } finally {
      groups.release();
      spare = groups;
    }
  }

  #resourceSpans(from: number, start: number, end: number): void {
    const body = this.#body;
    const groups = this.#groups;
    groups.openResourceSpans(from, start, end);
    const verdict = this.#checkHeader(start, end, RESOURCE_RULES);
    const detail = findings.detail;
    this.#resourceHeaderBytes = this.#checkedHeaderBytes;
    if (verdict === Verdict.ok && (findings.keyFound || this.#headerSuspect)) {
      const header = this.#redactor.redactResourceHeader(headerOf(body, start, end));
      if (header !== null) groups.rewriteResourceHeader(header);
    }
    for (let p = start; p < end; ) {
      const at = p;
      const tag = readTag(body, p, end);
      p = skipValue(body, tag, cursor.at, end);
      if (tag === Tag.scopeSpans) this.#scopeSpans(at, cursor.at, p, verdict, detail);
    }
    groups.closeResourceSpans();
  }

  #scopeSpans(from: number, start: number, end: number, resourceVerdict: number, resourceDetail: number): void {
    const body = this.#body;
    const groups = this.#groups;
    groups.openScopeSpans(from, start, end);
    const scopeVerdict = this.#checkHeader(start, end, SCOPE_RULES);
    const scopeDetail = findings.detail;
    this.#scopeHeaderBytes = this.#checkedHeaderBytes;
    if (scopeVerdict === Verdict.ok && (findings.keyFound || this.#headerSuspect)) {
      const header = this.#redactor.redactScopeHeader(headerOf(body, start, end));
      if (header !== null) groups.rewriteScopeHeader(header);
    }
    const verdict = resourceVerdict !== Verdict.ok ? resourceVerdict : scopeVerdict;
    const where =
      resourceVerdict !== Verdict.ok ? 'its resource has ' : scopeVerdict !== Verdict.ok ? 'its scope has ' : '';
    const detail = resourceVerdict !== Verdict.ok ? resourceDetail : scopeDetail;
    let p = start;
    while (p < end) {
      const at = p;
      // By hand what is nearly always there: the tag of a span and a length of two bytes.
      let inner: number;
      if (end - p > 2 && body[p] === Tag.span && body[p + 1]! >= 0x80 && body[p + 2]! < 0x80) {
        inner = p + 3;
        p = inner + ((body[at + 1]! & 0x7f) | (body[at + 2]! << 7));
        if (p > end) readLengthEnd(body, at + 1, end);
      } else {
        const tag = readTag(body, p, end);
        p = skipValue(body, tag, cursor.at, end);
        if (tag !== Tag.span) continue;
        inner = cursor.at;
      }
      this.#span(at, inner, p, verdict, where, detail);
    }
    groups.closeScopeSpans();
  }

  #span(from: number, start: number, end: number, outerVerdict: number, where: string, outerDetail: number): void {
    const body = this.#body;
    const options = this.#options;
    const index = this.#spanCount++;
    if (index === options.spanCountMax) throw tooManySpans(options.spanCountMax);
    // Each span may end up in a message of its own, with its resource and scope.
    this.#headerBytes += this.#resourceHeaderBytes + this.#scopeHeaderBytes;
    if (this.#headerBytes > this.#headerBytesMax) throw headersTooLarge(this.#headerBytesMax);
    const verdict = checkSpan(body, start, end, this.#context);
    if (verdict !== Verdict.ok || outerVerdict !== Verdict.ok) {
      this.#groups.dropSpan();
      if (this.#rejected.length >= REJECTED_NAMED_MAX) return;
      if (verdict !== Verdict.ok) this.#rejected.push(this.#rejection(index, verdict, '', findings.detail));
      else this.#rejected.push(this.#rejection(index, outerVerdict, where, outerDetail));
      return;
    }
    if (options.nowMs !== undefined && isImplausibleStart(findings.startHigh, findings.startLow, options.nowMs)) {
      this.#implausibleCount++;
    }
    let rewritten: Buffer | null = null;
    if (findings.keyFound || this.#suspects.any(start, end)) {
      rewritten = this.#redactor.redactSpan(body, start, end);
      if (rewritten !== null) this.#redactedCount++;
    }
    let partition: number;
    if (findings.traceIdBytes === 16) partition = options.partitionOf(body, findings.traceIdAt);
    else {
      const traceId = Buffer.alloc(16);
      body.copy(traceId, 8, findings.traceIdAt, findings.traceIdAt + 8);
      rewritten = withTraceId(rewritten ?? body.subarray(start, end), traceId);
      partition = options.partitionOf(traceId, 0);
    }
    this.#groups.addSpan(partition, from, end, rewritten);
  }

  #headerSuspect = false;
  #checkedHeaderBytes = 0;

  /** Checks all that stands beside the field 2 of a ResourceSpans or ScopeSpans: its resource or scope, and the schema url. */
  #checkHeader(start: number, end: number, rules: MessageRules): number {
    const body = this.#body;
    const context = this.#context;
    let verdict: number = Verdict.ok;
    let suspect = false;
    let bytes = 0;
    findings.keyFound = false;
    findings.detail = 0;
    for (let p = start; p < end; ) {
      const at = p;
      if (end - p > 2 && body[p] === Tag.span && body[p + 1]! >= 0x80 && body[p + 2]! < 0x80) {
        // As below: most fields are spans. A length that lies is found there.
        p += 3 + ((body[p + 1]! & 0x7f) | (body[p + 2]! << 7));
        continue;
      }
      const tag = readTag(body, p, end);
      p = skipValue(body, tag, cursor.at, end);
      if (tag === Tag.span) continue;
      bytes += p - at;
      const from = cursor.at;
      if (tag === Tag.resource) {
        if (verdict === Verdict.ok) verdict = checkMessage(body, from, p, rules, context);
        suspect ||= this.#suspects.any(from, p);
      } else if (tag === Tag.schemaUrl) {
        if (verdict === Verdict.ok && !isText(body, from, p, context.ascii)) verdict = Verdict.utf8;
        suspect ||= this.#suspects.any(from, p);
      } else if (tag < 0x20) wrongWireType(at, tag);
    }
    this.#headerSuspect = suspect;
    this.#checkedHeaderBytes = bytes;
    return verdict;
  }

  #rejection(index: number, verdict: number, where: string, detail: number): RejectedSpan {
    const { code, message } = describeVerdict(verdict, detail);
    if (findings.spanIdBytes !== 8) return { index, code, message: `${where}${message}` };
    const spanIdHex = this.#body.toString('hex', findings.spanIdAt, findings.spanIdAt + 8);
    return { index, spanIdHex, code, message: `${where}${message}` };
  }
}

function tooManySpans(spanCountMax: number): MeridianError {
  return new MeridianError('too-large', `preparing an OTLP batch: more than ${spanCountMax} spans`, 'never');
}

function headersTooLarge(bytesMax: number): MeridianError {
  const what = `resources and scopes, counted once per span, take more than ${bytesMax} bytes`;
  return new MeridianError('too-large', `preparing an OTLP batch: ${what}; send smaller batches or resources`, 'never');
}

/** A span's content with this trace id in place of those it had. */
function withTraceId(content: Buffer, traceId: Buffer): Buffer {
  const parts = [encodeBytesField(1, traceId)];
  let kept = 0;
  for (let p = 0; p < content.length; ) {
    const at = p;
    const tag = readTag(content, p, content.length);
    p = skipValue(content, tag, cursor.at, content.length);
    if (tag !== Tag.traceId) continue;
    if (at > kept) parts.push(content.subarray(kept, at));
    kept = p;
  }
  parts.push(content.subarray(kept));
  return Buffer.concat(parts);
}
