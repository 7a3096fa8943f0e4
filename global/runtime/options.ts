import { closest, distance } from 'fastest-levenshtein';
import { MeridianError } from './errors.js';

/**
 * One table of options per role: each row gives the type, unit, default, limits and help of an option; from it come the
 * configuration file's keys (`otlpHttpPort`), the environment's names (`MERIDIAN_OTLP_HTTP_PORT`), the command line's flags
 * (`--otlp-http-port`), validation and `--help`. A flag beats the environment, which beats the file, which beats the default.
 */
export interface OptionRow<T> {
  readonly kind: 'text' | 'integer' | 'flag' | 'list' | 'choice' | 'object';
  readonly help: string;
  /** Undefined: the option is required. Null: absent. */
  readonly default: T | undefined;
  readonly unit?: string;
  readonly min?: number;
  readonly max?: number;
  readonly choices?: readonly string[];
}

export type OptionTable = Readonly<Record<string, OptionRow<unknown>>>;
export type OptionValues<T extends OptionTable> = {
  readonly [K in keyof T]: T[K] extends OptionRow<infer V> ? V : never;
};

interface Common<T> {
  help: string;
  default?: T;
}

export const text = (row: Common<string>): OptionRow<string> => ({ ...row, kind: 'text', default: row.default });
export const optionalText = (row: { help: string }): OptionRow<string | null> => ({
  ...row,
  kind: 'text',
  default: null,
});
export const flag = (row: Common<boolean>): OptionRow<boolean> => ({ ...row, kind: 'flag', default: row.default });
export const list = (row: Common<readonly string[]>): OptionRow<readonly string[]> => ({
  ...row,
  kind: 'list',
  default: row.default,
});
export const integer = (row: Common<number> & { unit?: string; min: number; max: number }): OptionRow<number> => ({
  ...row,
  kind: 'integer',
  default: row.default,
});
export const choice = <C extends string>(row: Common<C> & { choices: readonly C[] }): OptionRow<C> => ({
  ...row,
  kind: 'choice',
  default: row.default,
});
/** A structure that has a schema of its own, e.g. the fleet: only in the configuration file. */
export const object = (row: { help: string }): OptionRow<unknown> => ({ ...row, kind: 'object', default: undefined });

export function environmentName(key: string): string {
  return `MERIDIAN_${snake(key).toUpperCase()}`;
}

export function flagName(key: string): string {
  return `--${snake(key).replaceAll('_', '-')}`;
}

function snake(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

export interface OptionSources {
  /** The parsed configuration file, and its path for messages. */
  readonly file?: { readonly path: string; readonly value: unknown };
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** By key, as the command line's parser gives them; undefined where a flag is absent. */
  readonly flags?: Readonly<Record<string, unknown>>;
}

/** All options of the table, checked. Throws `configuration` that names the source, the option, the rule, and the nearest known name. */
export function resolveOptions<T extends OptionTable>(table: T, sources: OptionSources): OptionValues<T> {
  const fromFile = fileValues(table, sources.file);
  const values: Record<string, unknown> = {};
  for (const [key, row] of Object.entries(table)) {
    const flagValue = sources.flags?.[key];
    const variable = sources.environment[environmentName(key)];
    if (flagValue !== undefined) values[key] = check(row, flagValue, flagName(key));
    else if (variable !== undefined && row.kind !== 'object') values[key] = check(row, variable, environmentName(key));
    else if (fromFile[key] !== undefined) values[key] = check(row, fromFile[key], `${sources.file?.path}: ${key}`);
    else if (row.default !== undefined) values[key] = row.default;
    else {
      throw new MeridianError(
        'configuration',
        `${sources.file?.path ?? 'configuration'}: "${key}" is missing: ${row.help}`,
        'never',
      );
    }
  }
  return values as OptionValues<T>;
}

function fileValues(table: OptionTable, file: OptionSources['file']): Record<string, unknown> {
  if (!file) return {};
  if (typeof file.value !== 'object' || file.value === null || Array.isArray(file.value)) {
    throw new MeridianError('configuration', `${file.path}: is not a JSON object`, 'never');
  }
  for (const key of Object.keys(file.value)) {
    if (!(key in table)) {
      throw new MeridianError(
        'configuration',
        `${file.path}: unknown key "${key}"${didYouMean(key, Object.keys(table))}`,
        'never',
      );
    }
  }
  return file.value as Record<string, unknown>;
}

/** ` - did you mean "x"?`, or nothing where no known name is near. */
function didYouMean(name: string, known: readonly string[]): string {
  if (known.length === 0) return '';
  const near = closest(name, known as string[]);
  return distance(name, near) <= Math.max(2, name.length / 2) ? ` - did you mean "${near}"?` : '';
}

function check(row: OptionRow<unknown>, value: unknown, where: string): unknown {
  const refuse = (rule: string) =>
    new MeridianError('configuration', `${where}: ${JSON.stringify(value)} ${rule} (${row.help})`, 'never');
  switch (row.kind) {
    case 'integer': {
      const number = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value;
      if (typeof number !== 'number' || !Number.isSafeInteger(number)) throw refuse('is no whole number');
      if (number < (row.min ?? 0) || number > (row.max ?? Number.MAX_SAFE_INTEGER)) {
        throw refuse(`is not in ${row.min}..${row.max}${row.unit ? ` ${row.unit}` : ''}`);
      }
      return number;
    }
    case 'flag': {
      if (value === true || value === 'true' || value === 'on' || value === '1') return true;
      if (value === false || value === 'false' || value === 'off' || value === '0') return false;
      throw refuse('is neither true nor false');
    }
    case 'list': {
      const items = typeof value === 'string' ? value.split(',').map((item) => item.trim()) : value;
      if (!Array.isArray(items) || items.some((item) => typeof item !== 'string' || item === '')) {
        throw refuse('is no list of texts');
      }
      return items;
    }
    case 'choice':
      if (typeof value !== 'string' || !row.choices?.includes(value))
        throw refuse(`is not one of ${row.choices?.join(', ')}`);
      return value;
    case 'text':
      if (value === null && row.default === null) return null;
      if (typeof value !== 'string' || value === '') throw refuse('is no text');
      return value;
    case 'object':
      return value;
  }
}
