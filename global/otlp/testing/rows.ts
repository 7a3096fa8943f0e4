import { type OfficialTracesData, officialDecode } from './official-otlp.js';

/** What a message means, whatever its bytes. */

/** A span with all that it stands in, as the official decoder reads it. */
export interface Row {
  readonly resource: OfficialTracesData['resourceSpans'][number]['resource'];
  readonly resourceSchemaUrl: string;
  readonly scope: OfficialTracesData['resourceSpans'][number]['scopeSpans'][number]['scope'];
  readonly scopeSchemaUrl: string;
  readonly span: OfficialTracesData['resourceSpans'][number]['scopeSpans'][number]['spans'][number];
}

/** In the order of the bytes. */
export function rowsOf(tracesData: Buffer): Row[] {
  return officialDecode(tracesData).resourceSpans.flatMap((resourceSpans) =>
    resourceSpans.scopeSpans.flatMap((scopeSpans) =>
      scopeSpans.spans.map((span) => ({
        resource: resourceSpans.resource,
        resourceSchemaUrl: resourceSpans.schemaUrl,
        scope: scopeSpans.scope,
        scopeSchemaUrl: scopeSpans.schemaUrl,
        span,
      })),
    ),
  );
}

/** A text that tells rows apart field by field; numbers that JSON has no form for included. */
export function rowText(row: Row): string {
  return JSON.stringify(row, (_key, value: unknown) => {
    if (typeof value !== 'number') return value;
    return Object.is(value, -0) || !Number.isFinite(value) ? `number ${Object.is(value, -0) ? '-0' : value}` : value;
  });
}

/** The spans of several messages as a multiset. */
export function rowTexts(messages: readonly Buffer[]): string[] {
  return messages.flatMap((message) => rowsOf(message).map(rowText)).sort();
}

/** Rows to compare: a status that is absent and one that is unset say the same (OTLP: "when Status isn't set, it means [...] unset"). */
export function comparableRows(tracesData: Uint8Array): Row[] {
  return rowsOf(Buffer.from(tracesData)).map(({ span, ...row }) => ({
    ...row,
    span: { ...span, status: span.status ?? { message: '', code: 0 } },
  }));
}
