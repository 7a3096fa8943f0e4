import { isJsonObject, type JsonObject } from './conversion.js';

/** Links that OpenTelemetry's Zipkin exporter of the Collector writes into tags at most. */
export const ZIPKIN_LINKS_MAX = 128;

export interface ZipkinAnnotation {
  readonly name: string;
  readonly attributes: JsonObject;
  readonly droppedAttributesCount: number;
}

export interface ZipkinLink extends Omit<ZipkinAnnotation, 'name'> {
  /** 32 and 16 hexadecimal characters. */
  readonly traceId: string;
  readonly spanId: string;
  readonly traceState: string;
}

/** `name|{attributes}|dropped`, as the Collector writes an event; any other text is the name as a whole. */
export function annotationOf(text: string): ZipkinAnnotation {
  const first = text.indexOf('|');
  const last = text.lastIndexOf('|');
  const attributes = first >= 0 && last > first ? jsonObjectOf(text.slice(first + 1, last)) : null;
  const dropped = countOf(text.slice(last + 1));
  if (attributes === null || dropped === null) return { name: text, attributes: {}, droppedAttributesCount: 0 };
  return { name: text.slice(0, first), attributes, droppedAttributesCount: dropped };
}

/** `traceId|spanId|traceState|{attributes}|dropped`, or null. */
export function linkOf(text: string): ZipkinLink | null {
  const parts = text.split('|', 3);
  const [traceId = '', spanId = '', traceState = ''] = parts;
  const head = traceId.length + spanId.length + traceState.length + 3;
  const last = text.lastIndexOf('|');
  if (parts.length < 3 || last <= head) return null;
  const attributes = jsonObjectOf(text.slice(head, last));
  const dropped = countOf(text.slice(last + 1));
  if (!/^[0-9a-f]{32}$/i.test(traceId) || !/^[0-9a-f]{16}$/i.test(spanId)) return null;
  if (attributes === null || dropped === null) return null;
  return { traceId, spanId, traceState, attributes, droppedAttributesCount: dropped };
}

function jsonObjectOf(text: string): JsonObject | null {
  if (text === '') return {};
  if (!text.startsWith('{')) return null;
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : null;
  } catch {
    return null;
  }
}

function countOf(text: string): number | null {
  return /^[0-9]{1,9}$/.test(text) ? Number(text) : null;
}
