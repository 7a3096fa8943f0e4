import type { JaegerSpan, JaegerTags, JaegerValue } from './jaeger-model.js';
import { StatusCode } from './span-ref.js';

/** Rules of the Jaeger to OpenTelemetry translation that have to look at several fields. */

/** Takes the tag out, where it is a string. */
export function takeString(tags: JaegerTags, key: string): string | null {
  const tag = tags.get(key);
  if (tag?.type !== 'string') return null;
  tags.delete(key);
  return tag.value;
}

/** The parent's span id, 0 for none: as named, else the first CHILD_OF reference into the same trace, else the first FOLLOWS_FROM. */
export function jaegerParent(span: JaegerSpan): bigint {
  if (span.parentSpanId !== 0n) return span.parentSpanId;
  let followed = 0n;
  for (const reference of span.references) {
    if (reference.traceIdHigh !== span.traceIdHigh || reference.traceIdLow !== span.traceIdLow) continue;
    if (reference.type === 0) return reference.spanId;
    if (reference.type === 1 && followed === 0n) followed = reference.spanId;
  }
  return followed;
}

export interface JaegerStatus {
  readonly code: number;
  readonly message: string;
}

const CLIENT = 3;

/**
 * The status, in this order: `error` = true; `otel.status_code`; `http.status_code` (4xx of a client, 5xx). Takes out the tags that say nothing more
 * once the status is known.
 */
export function jaegerStatus(tags: JaegerTags, kind: number): JaegerStatus {
  const error = tags.get('error');
  const failed = error !== undefined && (error.value === true || error.value === 'true');
  const explicit = takeString(tags, 'otel.status_code');
  if (failed) {
    tags.delete('error');
    return { code: StatusCode.error, message: takeString(tags, 'otel.status_description') ?? httpMessage(tags) };
  }
  if (explicit !== null) {
    const upper = explicit.toUpperCase();
    const code = upper === 'OK' ? StatusCode.ok : upper === 'ERROR' ? StatusCode.error : StatusCode.unset;
    return { code, message: takeString(tags, 'otel.status_description') ?? '' };
  }
  if (httpFailed(tags.get('http.status_code'), kind)) return { code: StatusCode.error, message: httpMessage(tags) };
  return { code: StatusCode.unset, message: '' };
}

function httpMessage(tags: JaegerTags): string {
  const message = tags.get('http.status_message');
  return message?.type === 'string' ? message.value : '';
}

function httpFailed(tag: JaegerValue | undefined, kind: number): boolean {
  if (tag === undefined) return false;
  if (tag.type !== 'int' && tag.type !== 'double' && tag.type !== 'string') return false;
  if (tag.type === 'string' && !/^[0-9]{3}$/.test(tag.value)) return false;
  const code = Number(tag.value);
  return (code >= 500 && code < 600) || (code >= 400 && code < 500 && kind === CLIENT);
}
