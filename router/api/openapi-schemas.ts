/** JSON Schemas of the answers (surface.md), by name: `components.schemas` of the OpenAPI document. */

const string = { type: 'string' } as const;
const integer = { type: 'integer', minimum: 0 } as const;
const boolean = { type: 'boolean' } as const;
const nano = { type: 'string', pattern: '^-?[0-9]+$', description: 'Nanoseconds as a decimal string' } as const;
const time = { type: 'string', format: 'date-time' } as const;
const anyObject = { type: 'object', additionalProperties: true } as const;

function object(properties: Record<string, unknown>, optional: readonly string[] = []): object {
  const required = Object.keys(properties).filter((name) => !optional.includes(name));
  return { type: 'object', properties, required };
}

function array(items: object): object {
  return { type: 'array', items };
}

function ref(name: string): { readonly $ref: string } {
  return { $ref: `#/components/schemas/${name}` };
}

const nullable = (schema: object) => ({ oneOf: [schema, { type: 'null' }] });

const root = object({ spanId: string, service: string, operation: string }, ['spanId']);

export const SCHEMAS: Readonly<Record<string, object>> = {
  Problem: {
    ...object(
      {
        type: string,
        title: string,
        status: integer,
        detail: string,
        instance: string,
        code: string,
        retry: { type: 'string', enum: ['never', 'later'] },
      },
      ['instance'],
    ),
    description: 'RFC 9457 problem details',
  },
  RegionOutcome: object(
    {
      region: string,
      state: {
        type: 'string',
        enum: ['answered', 'empty', 'skipped', 'unavailable', 'timeout', 'refused', 'metadata-only'],
      },
      reason: string,
      since: { ...time, description: 'Since when the region, or the missing part of it, has been failing' },
      source: {
        type: 'string',
        enum: ['store', 'live', 'standby', 'cache', 'none'],
        description: 'live: some of the spans were still open in the assembler',
      },
      spanCount: integer,
      tookMs: { type: 'number', minimum: 0 },
    },
    ['reason', 'since'],
  ),
  Warning: object({ code: string, message: string, region: string }, ['region']),
  ServiceCount: object({ name: string, spanCount: integer, errorCount: integer }),
  Event: object({ timeUnixNano: nano, name: string, attributes: anyObject, droppedAttributesCount: integer }, [
    'droppedAttributesCount',
  ]),
  Link: object(
    {
      traceId: string,
      spanId: string,
      traceState: string,
      flags: integer,
      attributes: anyObject,
      droppedAttributesCount: integer,
    },
    ['traceState', 'flags', 'droppedAttributesCount'],
  ),
  Span: object(
    {
      spanId: string,
      parentSpanId: nullable(string),
      region: string,
      service: string,
      operation: string,
      kind: { ...string, description: 'unspecified, internal, server, client, producer, consumer; others as numbers' },
      startTimeUnixNano: {
        ...nano,
        description: 'Corrected for clock skew: the recorded start plus skewCorrectionNano',
      },
      durationNano: nano,
      skewCorrectionNano: { ...nano, description: 'What was added to the recorded times; absent where nothing was' },
      status: object({ code: { type: 'string', enum: ['unset', 'ok', 'error'] }, message: string }, ['message']),
      attributes: anyObject,
      events: array(ref('Event')),
      links: array(ref('Link')),
      droppedAttributesCount: integer,
      droppedEventsCount: integer,
      droppedLinksCount: integer,
      traceState: string,
      flags: integer,
      depth: { ...integer, description: '0 for a span without a parent in the answer' },
      onCriticalPath: boolean,
      resource: anyObject,
      scope: object({ name: string, version: string, attributes: anyObject }, ['attributes']),
    },
    ['skewCorrectionNano', 'droppedAttributesCount', 'droppedEventsCount', 'droppedLinksCount', 'traceState', 'flags'],
  ),
  Trace: object(
    {
      traceId: string,
      complete: { ...boolean, description: 'False where a region that may hold a part did not give all of it' },
      regions: array(ref('RegionOutcome')),
      root: nullable(root),
      startTimeUnixNano: nano,
      durationNano: nano,
      spanCount: integer,
      errorCount: integer,
      services: array(ref('ServiceCount')),
      spans: { ...array(ref('Span')), description: 'By start, then span id' },
      warnings: array(ref('Warning')),
      explain: anyObject,
    },
    ['explain'],
  ),
  OtlpTracesData: {
    type: 'object',
    description: 'OTLP JSON TracesData',
    properties: { resourceSpans: array(anyObject) },
  },
  TraceSummary: object(
    {
      traceId: string,
      root: nullable(root),
      startTimeUnixNano: nano,
      durationNano: nano,
      spanCount: integer,
      errorCount: integer,
      countsAtLeast: { ...boolean, description: 'The counts are lower bounds' },
      services: array(ref('ServiceCount')),
      regions: array(string),
    },
    ['countsAtLeast'],
  ),
  SearchPage: object(
    {
      traces: { ...array(ref('TraceSummary')), description: 'Newest start first, then trace id' },
      nextCursor: nullable(string),
      complete: boolean,
      regions: array(ref('RegionOutcome')),
      warnings: array(ref('Warning')),
      explain: anyObject,
    },
    ['explain'],
  ),
  Index: object({
    traceId: string,
    records: array(
      object(
        {
          region: string,
          startTimeUnixNano: nano,
          endTimeUnixNano: nano,
          spanCount: integer,
          errorCount: integer,
          root: nullable(root),
          services: array(ref('ServiceCount')),
          blocks: array(string),
        },
        ['blocks'],
      ),
    ),
    folded: {
      ...array(object({ region: string, startTimeUnixNanoMin: nano, endTimeUnixNanoMax: nano })),
      description:
        'Regions that may have had a record of an old day, by filters that are wrong about one id in 256 per region and day; a part there would lie between these times',
    },
    watermarks: array(
      object(
        {
          region: string,
          partition: integer,
          watermarkUnixNano: nano,
          vouchedFromUnixNano: nano,
          lagMs: { type: 'number', minimum: 0 },
        },
        ['vouchedFromUnixNano'],
      ),
    ),
    plan: array(
      object({
        region: string,
        action: { type: 'string', enum: ['ask', 'skip'] },
        why: string,
        code: {
          ...string,
          description: 'after-folded: asked in a second step, unless the first proves that it has nothing',
        },
      }),
    ),
  }),
  Fleet: object({
    epoch: integer,
    home: string,
    regions: array(
      object(
        {
          region: string,
          state: { type: 'string', enum: ['healthy', 'suspect', 'lost', 'returning'] },
          since: nullable(time),
          reason: string,
          standby: nullable(string),
          standbyFor: array(string),
          ingestPointsAt: string,
          parts: array(
            object(
              {
                part: string,
                state: { type: 'string', enum: ['ok', 'degraded', 'down'] },
                detail: string,
                since: time,
              },
              ['detail', 'since'],
            ),
          ),
          links: array(
            object({ from: string, lagMs: integer, state: { type: 'string', enum: ['up', 'behind', 'down'] } }),
          ),
        },
        ['reason'],
      ),
    ),
  }),
  Services: object({
    services: array(object({ name: string, regions: array(string), operationCount: integer, lastSeenUnixNano: nano })),
  }),
  Operations: object({
    service: string,
    operations: array(object({ name: string, kind: string, regions: array(string), lastSeenUnixNano: nano })),
  }),
  Dependencies: object({
    dependencies: array(object({ parent: string, child: string, callCount: integer, errorCount: integer })),
    traceCount: { ...integer, description: 'On how many traces the counts are based' },
    traceCountMax: integer,
    complete: boolean,
    regions: array(ref('RegionOutcome')),
    warnings: array(ref('Warning')),
  }),
};
