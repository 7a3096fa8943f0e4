import { LIMITS } from '../model/limits.js';

const { attributesPerSpanMax, attributeKeyBytesMax, attributeValueBytesMax } = LIMITS;
const { valueDepthMax, eventsPerSpanMax, linksPerSpanMax, nameBytesMax } = LIMITS;

/** Which rule of `check.ts` a span breaks. */
export const Verdict = {
  ok: 0,
  traceId: 1,
  spanId: 2,
  parentSpanId: 3,
  attributeCount: 4,
  keyBytes: 5,
  valueBytes: 6,
  valueDepth: 7,
  eventCount: 8,
  linkCount: 9,
  nameBytes: 10,
  utf8: 11,
  longValueBytes: 12,
} as const;

/**
 * Strings of events, status messages, resources and scopes. In3's 4,096 bytes hold for the attributes of spans and links; stack
 * traces and command lines stand in the former and are longer as a rule, and their spans are those that matter most.
 */
export const LONG_VALUE_BYTES_MAX = 65_536;

/** What `checkSpan` found beside its verdict; one object for all checks, valid until the next. */
export const findings = {
  /** Position of the ids (-1 where absent) and their lengths. */
  traceIdAt: -1,
  traceIdBytes: 0,
  spanIdAt: -1,
  spanIdBytes: 0,
  startHigh: 0,
  startLow: 0,
  /** Some attribute has a key that the redactor may want (by `KeyLookup`), or is a key-value list, whose keys were not looked up. */
  keyFound: false,
  /** The size or count that broke the rule. */
  detail: 0,
};

/** Notes the size or count that broke a rule; returns the verdict. */
export function fail(verdict: number, detail: number): number {
  findings.detail = detail;
  return verdict;
}

/** A stable code and a message for people, for a verdict other than ok with its `findings.detail`. */
export function describeVerdict(verdict: number, detail: number): { code: string; message: string } {
  switch (verdict) {
    case Verdict.traceId:
      return { code: 'trace-id', message: idMessage('trace id', detail, 16) };
    case Verdict.spanId:
      return { code: 'span-id', message: idMessage('span id', detail, 8) };
    case Verdict.parentSpanId:
      return { code: 'parent-span-id', message: `parent span id of ${detail} bytes, expected none or 8` };
    case Verdict.attributeCount:
      return { code: 'attribute-count', message: `${detail} attributes, at most ${attributesPerSpanMax}` };
    case Verdict.keyBytes:
      return { code: 'attribute-key', message: `an attribute key of ${detail} bytes, at most ${attributeKeyBytesMax}` };
    case Verdict.valueBytes:
      return { code: 'attribute-value', message: `a value of ${detail} bytes, at most ${attributeValueBytesMax}` };
    case Verdict.longValueBytes:
      return { code: 'attribute-value', message: `a value of ${detail} bytes, at most ${LONG_VALUE_BYTES_MAX}` };
    case Verdict.valueDepth:
      return { code: 'value-depth', message: `a value nested deeper than ${valueDepthMax} arrays or lists` };
    case Verdict.eventCount:
      return { code: 'event-count', message: `${detail} events, at most ${eventsPerSpanMax}` };
    case Verdict.linkCount:
      return { code: 'link-count', message: `${detail} links, at most ${linksPerSpanMax}` };
    case Verdict.nameBytes:
      return { code: 'name', message: `a name of ${detail} bytes, at most ${nameBytesMax}` };
    default:
      return { code: 'utf8', message: 'a string that is not UTF-8' };
  }
}

function idMessage(what: string, bytes: number, wanted: number): string {
  if (bytes === 0) return `no ${what}`;
  return bytes === wanted || (wanted === 16 && bytes === 8)
    ? `${what} is all zero`
    : `${what} of ${bytes} bytes, expected ${wanted}`;
}

/** A span that was left out of a batch, by the checks (`prepareBatch`) or while it was converted. */
export interface RejectedSpan {
  /** Place among all spans of the batch or request, from 0. */
  readonly index: number;
  /** Where it has one of 8 bytes. */
  readonly spanIdHex?: string;
  /** Of the broken rule; `malformed` or `invalid` where the span could not be converted. */
  readonly code: string;
  /** What is wrong with it, not which span it is: whoever answers names it by `index` and `spanIdHex`. */
  readonly message: string;
}
