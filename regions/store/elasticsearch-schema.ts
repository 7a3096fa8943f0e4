import { MeridianError } from '../../global/runtime/errors.js';

/** Names of what the store has in Elasticsearch, all below a prefix. */
export interface SchemaNames {
  readonly template: string;
  /** Of every index. */
  readonly pattern: string;
  readonly firstIndex: string;
  /** Alias of every index. */
  readonly read: string;
  /** Alias of the one index that takes writes. */
  readonly write: string;
}

export interface IndexSettings {
  readonly shards: number;
  readonly replicas: number;
  readonly refreshMs: number;
}

/** Of mapping and documents together; kept in the mapping's `_meta`. */
export const SCHEMA_VERSION = 1;
const OWNER = 'segments';
const PREFIX = /^[a-z0-9][a-z0-9_-]{0,63}$/;

/** Throws `configuration` for a prefix that Elasticsearch would not take. */
export function schemaNames(prefix: string): SchemaNames {
  if (!PREFIX.test(prefix)) {
    const rule = 'lower-case letters, digits, - and _, at most 64, the first a letter or digit';
    throw new MeridianError('configuration', `index prefix ${JSON.stringify(prefix)}: ${rule}`, 'never');
  }
  const base = `${prefix}-segments`;
  return { template: base, pattern: `${base}-0*`, firstIndex: `${base}-000001`, read: base, write: `${base}-write` };
}

/** Words of `traces` and `terms`: found, not ranked, and not kept a second time. */
const WORDS = { type: 'text', analyzer: 'whitespace', index_options: 'docs', norms: false } as const;
const FIELDS = {
  source: { type: 'keyword', doc_values: false },
  start_min: { type: 'long' },
  start_max: { type: 'long' },
  starts: { type: 'long', doc_values: false },
  span_start_max: { type: 'long', doc_values: false },
  duration_max: { type: 'long', doc_values: false },
  newest: { type: 'long' },
  traces: WORDS,
  terms: WORDS,
  bytes: { type: 'long', index: false },
  frame: { type: 'object', enabled: false },
} as const;

export function indexTemplate(names: SchemaNames, { shards, replicas, refreshMs }: IndexSettings) {
  return {
    index_patterns: [names.pattern],
    // Above the built-in templates, whose priorities end at 250.
    priority: 500,
    _meta: { meridian: OWNER, version: SCHEMA_VERSION },
    template: {
      settings: {
        index: {
          number_of_shards: shards,
          number_of_replicas: replicas,
          refresh_interval: `${refreshMs}ms`,
          codec: 'best_compression',
          'translog.durability': 'request',
        },
      },
      mappings: { dynamic: 'strict', _meta: { meridian: OWNER, version: SCHEMA_VERSION }, properties: FIELDS },
      aliases: { [names.read]: {} },
    },
  };
}

interface Meta {
  readonly meridian?: unknown;
  readonly version?: unknown;
}

/** What `GET /{index}` says of one. */
export interface FoundIndex {
  readonly aliases: Readonly<Record<string, unknown>>;
  readonly mappings: {
    readonly dynamic?: unknown;
    readonly _meta?: Meta;
    readonly properties?: Readonly<Record<string, unknown>>;
  };
}

/**
 * Throws `configuration` where an index is not as the store makes it: somebody else's, or changed; `unknown-version` for one
 * of another build.
 */
export function checkIndex(name: string, found: FoundIndex, names: SchemaNames): void {
  const { dynamic, _meta: meta, properties = {} } = found.mappings;
  checkOwner(`index ${name}`, meta);
  const wrong = (what: string) => new MeridianError('configuration', `index ${name}: ${what}`, 'never');
  if (dynamic !== 'strict') throw wrong(`dynamic is ${JSON.stringify(dynamic ?? true)}, not "strict"`);
  const expected: Readonly<Record<string, unknown>> = FIELDS;
  for (const field of new Set([...Object.keys(expected), ...Object.keys(properties)])) {
    const is = canonical(properties[field]);
    const wanted = canonical(expected[field]);
    if (is !== wanted)
      throw wrong(`field ${field} is mapped as ${is ?? 'nothing'}, and should be ${wanted ?? 'absent'}`);
  }
  if (!(names.read in found.aliases)) throw wrong(`is not in the alias ${names.read}`);
}

/** For an index or a template; see `checkIndex`. */
export function checkOwner(what: string, meta: Meta | undefined): void {
  if (meta?.meridian !== OWNER) {
    const advice = 'choose another index prefix, or remove it';
    throw new MeridianError('configuration', `${what} was not made by Meridian's segment store: ${advice}`, 'never');
  }
  if (meta.version !== SCHEMA_VERSION) {
    const message = `${what} has version ${JSON.stringify(meta.version)}, this build knows ${SCHEMA_VERSION}`;
    throw new MeridianError('unknown-version', message, 'never');
  }
}

/** JSON with keys in order, and booleans and numbers as the text that Elasticsearch may give them as. */
function canonical(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'object' || value === null) return JSON.stringify(String(value));
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, inner]) => `${key}: ${canonical(inner)}`).join(', ')}}`;
}
