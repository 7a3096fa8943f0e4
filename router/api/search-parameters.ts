import { closest } from 'fastest-levenshtein';
import type { Fleet } from '../../global/fleet/fleet.js';
import { parseRegionId, type RegionId } from '../../global/model/ids.js';
import { LIMITS } from '../../global/model/limits.js';
import type { AttributeCondition, SpanQuery } from '../../global/model/query.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { parseSpanKind, spanKindNames } from '../merge/names.js';
import type { TraceSearch } from '../query/search-query.js';
import { DEADLINE, EXPLAIN, PARTIAL } from './common-parameters.js';
import type { ParameterSpec, ParameterValues } from './parameters.js';
import { invalid, parseDuration, parseFlag, parseInteger, parseTime, TIME_NANO_MAX } from './units.js';

const TIME_SCHEMA = { type: 'string', examples: ['1763700000', '2026-11-21T12:00:00Z'] };
const DURATION_SCHEMA = { type: 'string', examples: ['250ms', '1.5s'] };

export const WINDOW_PARAMETERS: readonly ParameterSpec[] = [
  {
    name: 'start',
    aliases: ['start_time'],
    description:
      'Spans that start at or after this time: Unix seconds, milliseconds, microseconds or nanoseconds by magnitude, or RFC 3339',
    schema: TIME_SCHEMA,
  },
  {
    name: 'end',
    aliases: ['end_time'],
    description: 'Spans that start at or before this time',
    schema: TIME_SCHEMA,
  },
  {
    name: 'timeRange',
    aliases: ['time_range'],
    description: 'The last so long, e.g. 5m; instead of start and end',
    schema: { type: 'string', examples: ['5m', '1h'] },
  },
];

export const SEARCH_PARAMETERS: readonly ParameterSpec[] = [
  {
    name: 'service',
    aliases: ['service_name'],
    repeatable: true,
    description:
      'The service of the matching span. Given again: further services that occur in the trace, in whatever region',
    schema: { type: 'string' },
  },
  { name: 'operation', description: 'The name of the matching span', schema: { type: 'string' } },
  {
    name: 'attr',
    aliases: ['tag'],
    repeatable: true,
    description: 'key=value: an attribute of the matching span, or of its resource; at most 16',
    schema: { type: 'string', examples: ['http.status_code=500'] },
  },
  {
    name: 'error',
    description: 'The matching span has status error (true), or has not (false)',
    schema: { type: 'boolean' },
  },
  { name: 'kind', description: 'The kind of the matching span', schema: { type: 'string', enum: spanKindNames } },
  { name: 'minDuration', description: 'The matching span took at least this long', schema: DURATION_SCHEMA },
  { name: 'maxDuration', description: 'The matching span took at most this long', schema: DURATION_SCHEMA },
  ...WINDOW_PARAMETERS,
  {
    name: 'regions',
    description: 'Only these regions, separated by commas',
    schema: { type: 'string', examples: ['us-east-1,eu-west-1'] },
  },
  {
    name: 'limit',
    description: 'Traces on a page',
    schema: { type: 'integer', minimum: 1, maximum: LIMITS.searchLimitMax, default: LIMITS.searchLimitDefault },
  },
  {
    name: 'cursor',
    description: 'nextCursor of the page before, with the same conditions',
    schema: { type: 'string' },
  },
  PARTIAL,
  DEADLINE,
  EXPLAIN,
];

/** The search that a request asks for. Throws `invalid` naming the parameter. */
export function readSearch(values: ParameterValues, fleet: Fleet, nowUnixNano: bigint): TraceSearch {
  const services = values.all('service');
  if (services.includes('')) throw new MeridianError('invalid', 'service: an empty name', 'never');
  const kind = values.map('kind', (name, text) => {
    const number = parseSpanKind(text);
    if (number === null) throw invalid(name, text, `one of ${spanKindNames.join(', ')}`);
    return number;
  });
  const operation = values.one('operation');
  const error = values.map('error', parseFlag);
  const durationNanoMin = values.map('minDuration', parseDuration);
  const durationNanoMax = values.map('maxDuration', parseDuration);
  if (durationNanoMin !== null && durationNanoMax !== null && durationNanoMin > durationNanoMax) {
    throw new MeridianError('invalid', 'minDuration: larger than maxDuration', 'never');
  }
  const query: SpanQuery = {
    ...(services[0] === undefined ? {} : { service: services[0] }),
    ...(operation === null || operation === '' ? {} : { operation }),
    attributes: values.all('attr').map(readAttribute),
    ...(error === null ? {} : { error }),
    ...(kind === null ? {} : { kind }),
    ...(durationNanoMin === null ? {} : { durationNanoMin }),
    ...(durationNanoMax === null ? {} : { durationNanoMax }),
    ...readWindow(values, nowUnixNano),
  };
  return {
    query,
    services,
    only: values.map('regions', (name, text) => readRegions(name, text, fleet)),
    limit:
      values.map('limit', (name, text) => parseInteger(name, text, 1, LIMITS.searchLimitMax)) ??
      LIMITS.searchLimitDefault,
    cursor: values.one('cursor'),
    canonical: JSON.stringify(CONDITIONS.map((name) => [name, values.all(name)])),
  };
}

/** What a cursor is bound to: everything that decides which traces match. */
const CONDITIONS = [
  'service',
  'operation',
  'attr',
  'error',
  'kind',
  'minDuration',
  'maxDuration',
  'start',
  'end',
  'timeRange',
  'regions',
] as const;

/** Without any of the parameters: all time. */
export function readWindow(
  values: ParameterValues,
  nowUnixNano: bigint,
): Pick<SpanQuery, 'startUnixNanoMin' | 'startUnixNanoMax'> {
  const range = values.map('timeRange', parseDuration);
  if (range !== null) {
    if (values.has('start') || values.has('end')) {
      throw new MeridianError('invalid', 'timeRange: goes without start and end', 'never');
    }
    // A sender's clock may run ahead: what lies in the future is recent, too.
    return {
      startUnixNanoMin: nowUnixNano > range ? nowUnixNano - range : 0n,
      startUnixNanoMax: TIME_NANO_MAX,
    };
  }
  const startUnixNanoMin = values.map('start', parseTime) ?? 0n;
  const startUnixNanoMax = values.map('end', parseTime) ?? TIME_NANO_MAX;
  if (startUnixNanoMin > startUnixNanoMax) throw new MeridianError('invalid', 'start: after end', 'never');
  return { startUnixNanoMin, startUnixNanoMax };
}

/** `key=value`; where there is no `=`, `key:value` as Jaeger writes it. */
function readAttribute(text: string): AttributeCondition {
  const at = text.includes('=') ? text.indexOf('=') : text.indexOf(':');
  if (at <= 0) throw invalid('attr', text, 'key=value');
  const key = text.slice(0, at);
  const value = text.slice(at + 1);
  if (Buffer.byteLength(key) > LIMITS.attributeKeyBytesMax) {
    throw new MeridianError('invalid', `attr: a key of more than ${LIMITS.attributeKeyBytesMax} bytes`, 'never');
  }
  if (Buffer.byteLength(value) > LIMITS.attributeValueBytesMax) {
    throw new MeridianError('invalid', `attr: a value of more than ${LIMITS.attributeValueBytesMax} bytes`, 'never');
  }
  return { key, value };
}

function readRegions(name: string, text: string, fleet: Fleet): ReadonlySet<RegionId> {
  const known = fleet.regions.map((r) => r.region);
  const regions = new Set<RegionId>();
  for (const part of text.split(',')) {
    const region = parseRegionId(part.trim());
    if (!region || !known.includes(region)) {
      const nearest = closest(part.slice(0, 50), known);
      throw invalid(name, part, `a region of the fleet; did you mean "${nearest}"?`);
    }
    regions.add(region);
  }
  return regions;
}
