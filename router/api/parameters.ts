import { closest, distance } from 'fastest-levenshtein';
import { MeridianError } from '../../global/runtime/errors.js';

/** One query parameter of a route: what reads it, and what the OpenAPI document says of it. */
export interface ParameterSpec {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly repeatable?: boolean;
  readonly description: string;
  /** JSON Schema of one value. */
  readonly schema: Readonly<Record<string, unknown>>;
}

/** Of the query string; a cursor is the longest thing in it. */
export const QUERY_CHARACTERS_MAX = 14_000;
export const VALUES_PER_PARAMETER_MAX = 16;

/** Values of a request's parameters, by canonical name, in the order they came. */
export class ParameterValues {
  constructor(private readonly values: ReadonlyMap<string, readonly string[]>) {}

  one(name: string): string | null {
    return this.values.get(name)?.[0] ?? null;
  }

  all(name: string): readonly string[] {
    return this.values.get(name) ?? [];
  }

  has(name: string): boolean {
    return this.values.has(name);
  }

  map<T>(name: string, read: (name: string, text: string) => T): T | null {
    const text = this.one(name);
    return text === null ? null : read(name, text);
  }
}

/**
 * Reads a request's query string. Throws `invalid` for an unknown parameter (naming the nearest one), one given twice that is not
 * repeatable, or too many values; `too-large` for a query string beyond its limit.
 */
export function readParameters(url: string, specs: readonly ParameterSpec[]): ParameterValues {
  const at = url.indexOf('?');
  const query = at < 0 ? '' : url.slice(at + 1);
  if (query.length > QUERY_CHARACTERS_MAX) {
    throw new MeridianError(
      'too-large',
      `the query string has ${query.length} characters, ${QUERY_CHARACTERS_MAX} are allowed`,
      'never',
    );
  }
  const values = new Map<string, string[]>();
  for (const [given, value] of new URLSearchParams(query)) {
    const spec = specs.find((s) => s.name === given || s.aliases?.includes(given));
    if (!spec) throw unknownParameter(given, specs);
    const list = values.get(spec.name) ?? [];
    list.push(value);
    if (list.length > 1 && !spec.repeatable) {
      throw new MeridianError('invalid', `${given}: given more than once`, 'never');
    }
    if (list.length > VALUES_PER_PARAMETER_MAX) {
      throw new MeridianError('invalid', `${given}: more than ${VALUES_PER_PARAMETER_MAX} values`, 'never');
    }
    values.set(spec.name, list);
  }
  return new ParameterValues(values);
}

function unknownParameter(given: string, specs: readonly ParameterSpec[]): MeridianError {
  const names = specs.flatMap((s) => [s.name, ...(s.aliases ?? [])]);
  const shown = given.slice(0, 50);
  if (names.length === 0) {
    return new MeridianError('invalid', `unknown parameter "${shown}"; there are none here`, 'never');
  }
  const nearest = closest(shown, names);
  const near = distance(shown, nearest) <= Math.max(3, nearest.length / 2);
  const hint = near ? `did you mean "${nearest}"?` : `known are ${specs.map((s) => s.name).join(', ')}`;
  return new MeridianError('invalid', `unknown parameter "${shown}"; ${hint}`, 'never');
}
