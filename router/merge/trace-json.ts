import { plainRecord } from '../../global/otlp/any-value.js';
import type { ResourceView, ScopeView, SpanView } from '../../global/otlp/span-view.js';
import type { MergedSpan } from './merge-trace.js';
import { spanKindName, statusCodeName } from './names.js';

/** Characters gathered before a chunk is handed on. */
const CHUNK_CHARACTERS = 64 * 1024;

/**
 * The native JSON of a trace (surface: `GET /v1/traces/{traceId}`) in chunks, made as they are asked for. `head` and `tail` are the members
 * before and after `spans`.
 */
export function* encodeTraceJson(
  head: object,
  spans: readonly MergedSpan[],
  tail: object,
): Generator<string, void, undefined> {
  const plain = new PlainCache();
  let text = `${JSON.stringify(head).slice(0, -1)},"spans":[`;
  let first = true;
  for (const span of spans) {
    text += first ? encodeSpan(span, plain) : `,${encodeSpan(span, plain)}`;
    first = false;
    if (text.length >= CHUNK_CHARACTERS) {
      yield text;
      text = '';
    }
  }
  yield `${text}],${JSON.stringify(tail).slice(1)}`;
}

function encodeSpan(span: MergedSpan, plain: PlainCache): string {
  const { view } = span;
  const own = JSON.stringify({
    spanId: view.spanId,
    parentSpanId: view.parentSpanId,
    region: span.region,
    service: view.service,
    operation: view.name,
    kind: spanKindName(view.kind),
    startTimeUnixNano: String(span.startUnixNano),
    durationNano: String(span.endUnixNano - span.startUnixNano),
    skewCorrectionNano: span.skewNano === 0n ? undefined : String(span.skewNano),
    status: { code: statusCodeName(view.status.code), message: view.status.message || undefined },
    attributes: plainRecord(view.attributes),
    events: view.events.map((event) => ({
      timeUnixNano: String(event.timeUnixNano + span.skewNano),
      name: event.name,
      attributes: plainRecord(event.attributes),
      droppedAttributesCount: event.droppedAttributesCount || undefined,
    })),
    links: view.links.map((link) => ({
      traceId: link.traceId,
      spanId: link.spanId,
      traceState: link.traceState || undefined,
      flags: link.flags || undefined,
      attributes: plainRecord(link.attributes),
      droppedAttributesCount: link.droppedAttributesCount || undefined,
    })),
    ...droppedCounts(view),
    traceState: view.traceState || undefined,
    flags: view.flags || undefined,
    depth: span.depth,
    onCriticalPath: span.onCriticalPath,
  });
  return `${own.slice(0, -1)},"resource":${plain.resource(view.resource)},"scope":${plain.scope(view.scope)}}`;
}

function droppedCounts(view: SpanView) {
  return {
    droppedAttributesCount: view.droppedAttributesCount || undefined,
    droppedEventsCount: view.droppedEventsCount || undefined,
    droppedLinksCount: view.droppedLinksCount || undefined,
  };
}

/** Many spans share a resource and a scope: their text is made once. */
class PlainCache {
  readonly #resources = new Map<ResourceView, string>();
  readonly #scopes = new Map<ScopeView, string>();

  resource(resource: ResourceView): string {
    let text = this.#resources.get(resource);
    if (text === undefined) {
      text = JSON.stringify(plainRecord(resource.attributes));
      this.#resources.set(resource, text);
    }
    return text;
  }

  scope(scope: ScopeView): string {
    let text = this.#scopes.get(scope);
    if (text === undefined) {
      text = JSON.stringify({
        name: scope.name,
        version: scope.version,
        attributes: scope.attributes.length > 0 ? plainRecord(scope.attributes) : undefined,
      });
      this.#scopes.set(scope, text);
    }
    return text;
  }
}
