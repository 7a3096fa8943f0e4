import { createRequire } from 'node:module';

/**
 * OTLP bytes as comparable texts, one per span, with everything that belongs to it: decoded by the code generated from the
 * official protobuf definitions, not by Meridian's.
 */

interface GeneratedType {
  decode(bytes: Uint8Array): object;
  toObject(message: object, options: object): TracesDataObject;
}

interface TracesDataObject {
  resourceSpans?: {
    resource?: object;
    schemaUrl?: string;
    scopeSpans?: {
      scope?: object;
      schemaUrl?: string;
      spans?: { spanId: string; traceId: string; status?: object | null }[];
    }[];
  }[];
}

const require = createRequire(import.meta.url);
const { opentelemetry } = require('otlp-generated/build/src/generated/root.js') as {
  opentelemetry: { proto: { trace: { v1: { TracesData: GeneratedType } } } };
};
const { TracesData } = opentelemetry.proto.trace.v1;

const UNSET = { message: '', code: 0 };

export function canonicalSpans(tracesData: Uint8Array): string[] {
  const data = TracesData.toObject(TracesData.decode(tracesData), {
    longs: String,
    bytes: String,
    defaults: true,
    arrays: true,
  });
  const spans = (data.resourceSpans ?? []).flatMap(({ resource, schemaUrl, scopeSpans }) =>
    (scopeSpans ?? []).flatMap((scoped) =>
      (scoped.spans ?? []).map((span) =>
        // OTLP: "semantically when Status isn't set, it means span's status code is unset": absent and empty are the same.
        JSON.stringify({
          span: { ...span, status: span.status ?? UNSET },
          scope: scoped.scope,
          scopeSchema: scoped.schemaUrl,
          resource,
          schemaUrl,
        }),
      ),
    ),
  );
  return spans.sort();
}

export function spanIdsOf(tracesData: Uint8Array): string[] {
  return canonicalSpans(tracesData).map((text) => {
    const { span } = JSON.parse(text) as { span: { spanId: string } };
    return Buffer.from(span.spanId, 'base64').toString('hex');
  });
}
