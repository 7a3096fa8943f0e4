/** A trace whose every span is known beforehand: what `meridian send` writes, and what tests look for. */
export interface KnownTrace {
  readonly traceId: string;
  readonly spanCount: number;
  /** OTLP/JSON `ExportTraceServiceRequest` for each region's collector. */
  readonly bodies: ReadonlyMap<string, object>;
}

const SERVER = 2;
const CLIENT = 3;

/**
 * A chain of services, one per region: each has a server span and calls the next by a client span. With one region there are
 * two services in it. `spanId` makes ids of 16 hex characters.
 */
export function makeKnownTrace(options: {
  traceId: string;
  regions: readonly string[];
  startUnixNano: bigint;
  spanId: () => string;
}): KnownTrace {
  const { traceId, regions, startUnixNano, spanId } = options;
  const bodies = new Map<string, object>();
  let parentSpanId = '';
  let spanCount = 0;
  regions.forEach((region, i) => {
    const serverId = spanId();
    const clientId = spanId();
    const startMs = i * 10;
    const endMs = 100 - i * 10;
    const span = (id: string, parent: string, kind: number, name: string, fromMs: number, toMs: number) => ({
      traceId,
      spanId: id,
      ...(parent ? { parentSpanId: parent } : {}),
      name,
      kind,
      startTimeUnixNano: String(startUnixNano + BigInt(fromMs) * 1_000_000n),
      endTimeUnixNano: String(startUnixNano + BigInt(Math.max(toMs, fromMs + 1)) * 1_000_000n),
      attributes: [{ key: 'meridian.known', value: { stringValue: `${region}-${i}` } }],
    });
    const spans = [span(serverId, parentSpanId, SERVER, `GET /step/${i}`, startMs, endMs)];
    if (i + 1 < regions.length)
      spans.push(span(clientId, serverId, CLIENT, `GET /step/${i + 1}`, startMs + 4, endMs - 4));
    spanCount += spans.length;
    bodies.set(region, {
      resourceSpans: [
        {
          resource: { attributes: [{ key: 'service.name', value: { stringValue: `known-${i}` } }] },
          scopeSpans: [{ scope: { name: 'meridian send' }, spans }],
        },
      ],
    });
    parentSpanId = clientId;
  });
  return { traceId, spanCount, bodies };
}
