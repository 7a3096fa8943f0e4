import type { AnyValueView, KeyValueView } from '../../global/otlp/any-value.js';
import { type SpanView, spanViews } from '../../global/otlp/span-view.js';

/**
 * Jaeger's own layout in Elasticsearch, to be compared with: a document per span with nested tags (jaeger's `es/mappings/jaeger-span-8.json` and
 * `es/spanstore/dbmodel`). Its settings but for shards and replicas, which are ours for a single node.
 */
export const JAEGER_INDEX = {
  settings: {
    'index.number_of_shards': 1,
    'index.number_of_replicas': 0,
    'index.mapping.nested_fields.limit': 50,
    'index.requests.cache.enable': true,
    'index.store.stats_refresh_interval': '0s',
  },
  mappings: {
    dynamic_templates: [
      {
        span_tags_map: {
          mapping: { type: 'keyword', ignore_above: 256 },
          path_match: 'tag.*',
        },
      },
      {
        process_tags_map: {
          mapping: { type: 'keyword', ignore_above: 256 },
          path_match: 'process.tag.*',
        },
      },
    ],
    properties: {
      traceID: { type: 'keyword', ignore_above: 256 },
      parentSpanID: { type: 'keyword', ignore_above: 256 },
      spanID: { type: 'keyword', ignore_above: 256 },
      operationName: { type: 'keyword', ignore_above: 256 },
      startTime: { type: 'long' },
      startTimeMillis: { type: 'date', format: 'epoch_millis' },
      duration: { type: 'long' },
      flags: { type: 'integer' },
      logs: {
        type: 'nested',
        dynamic: false,
        properties: { timestamp: { type: 'long' }, fields: nestedTags() },
      },
      process: {
        properties: {
          serviceName: { type: 'keyword', ignore_above: 256 },
          tag: { type: 'object' },
          tags: nestedTags(),
        },
      },
      references: {
        type: 'nested',
        dynamic: false,
        properties: {
          refType: { type: 'keyword', ignore_above: 256 },
          traceID: { type: 'keyword', ignore_above: 256 },
          spanID: { type: 'keyword', ignore_above: 256 },
        },
      },
      tag: { type: 'object' },
      tags: nestedTags(),
    },
  },
} as const;

function nestedTags() {
  return {
    type: 'nested',
    dynamic: false,
    properties: {
      key: { type: 'keyword', ignore_above: 256 },
      value: { type: 'keyword', ignore_above: 256 },
      type: { type: 'keyword', ignore_above: 256 },
    },
  } as const;
}

const KINDS = ['', 'internal', 'server', 'client', 'producer', 'consumer'];

/** The documents that Jaeger would write of the spans, one each. */
export function jaegerDocuments(tracesData: Buffer): object[] {
  return Array.from(spanViews(tracesData), jaegerDocument);
}

function jaegerDocument(span: SpanView): object {
  const micros = span.startUnixNano / 1000n;
  const resourceTags = span.resource.attributes.filter(({ key }) => key !== 'service.name');
  return {
    traceID: span.traceId,
    spanID: span.spanId,
    flags: 1,
    operationName: span.name,
    references: span.parentSpanId ? [{ refType: 'CHILD_OF', traceID: span.traceId, spanID: span.parentSpanId }] : [],
    startTime: Number(micros),
    startTimeMillis: Number(micros / 1000n),
    duration: Number((span.endUnixNano - span.startUnixNano) / 1000n),
    tags: [
      ...span.attributes.map(tagOf),
      { key: 'span.kind', type: 'string', value: KINDS[span.kind] ?? '' },
      { key: 'otel.scope.name', type: 'string', value: span.scope.name },
      { key: 'otel.scope.version', type: 'string', value: span.scope.version },
      ...(span.status.code === 2 ? [{ key: 'error', type: 'bool', value: 'true' }] : []),
    ],
    logs: span.events.map((event) => ({
      timestamp: Number(event.timeUnixNano / 1000n),
      fields: [{ key: 'event', type: 'string', value: event.name }, ...event.attributes.map(tagOf)],
    })),
    process: { serviceName: span.service, tags: resourceTags.map(tagOf) },
  };
}

function tagOf({ key, value }: KeyValueView): object {
  return { key, type: TYPES[value.type] ?? 'string', value: String(value.value) };
}

const TYPES: Partial<Record<AnyValueView['type'], string>> = { bool: 'bool', int: 'int64', double: 'float64' };
