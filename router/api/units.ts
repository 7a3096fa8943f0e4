import { NANOS_PER_MS, NANOS_PER_SECOND } from '../../global/model/time.js';
import { MeridianError } from '../../global/runtime/errors.js';

/** Parsers of parameter values. All throw `invalid` naming the parameter and what it takes. */

export function invalid(name: string, value: string, takes: string): MeridianError {
  const shown = value.length > 100 ? `${value.slice(0, 100)}...` : value;
  return new MeridianError('invalid', `${name}: "${shown}" is not ${takes}`, 'never');
}

const DURATION = /^(\d{1,12})(?:\.(\d{1,9}))?(ns|us|µs|ms|s|m|h)$/;
const UNIT_NANO: Record<string, bigint> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  ms: NANOS_PER_MS,
  s: NANOS_PER_SECOND,
  m: 60n * NANOS_PER_SECOND,
  h: 3600n * NANOS_PER_SECOND,
};

const TAKES_DURATION = 'a duration such as 250ms, 1.5s or 2m (units ns, us, ms, s, m, h)';

/** `250ms`, `1.5s`, `2m`: nanoseconds, rounded down. */
export function parseDuration(name: string, text: string): bigint {
  const match = DURATION.exec(text);
  if (!match) throw invalid(name, text, TAKES_DURATION);
  const [, whole, fraction = '', unit] = match;
  const nano = UNIT_NANO[unit!]!;
  const part = fraction === '' ? 0n : (BigInt(fraction) * nano) / 10n ** BigInt(fraction.length);
  return bounded(name, text, BigInt(whole!) * nano + part, TAKES_DURATION);
}

const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(?::(\d{2})(?:\.(\d{1,9}))?)?(?:[Zz]|[+-]\d{2}:\d{2})$/;
const COUNT = /^(\d{1,19})(?:\.(\d{1,9}))?$/;
const TAKES_TIME = 'a time (Unix seconds, milliseconds, microseconds or nanoseconds, or RFC 3339)';

/**
 * A point in time as Unix nanoseconds. A count's unit goes by its magnitude: below 10^11 seconds (a fraction is allowed), below
 * 10^14 milliseconds, below 10^17 microseconds, else nanoseconds; or RFC 3339.
 */
export function parseTime(name: string, text: string): bigint {
  const count = COUNT.exec(text);
  if (count) {
    const value = BigInt(count[1]!);
    const fraction = count[2] ?? '';
    const seconds = value < 10n ** 11n;
    if (fraction !== '' && !seconds) throw invalid(name, text, TAKES_TIME);
    if (seconds) return bounded(name, text, value * NANOS_PER_SECOND + BigInt(fraction.padEnd(9, '0')), TAKES_TIME);
    const nano = value < 10n ** 14n ? value * NANOS_PER_MS : value < 10n ** 17n ? value * 1000n : value;
    return bounded(name, text, nano, TAKES_TIME);
  }
  const calendar = RFC_3339.exec(text);
  if (!calendar) throw invalid(name, text, TAKES_TIME);
  const fraction = calendar[2] ?? '';
  const seconds = Date.parse(fraction === '' ? text : text.replace(`.${fraction}`, ''));
  if (Number.isNaN(seconds) || seconds < 0) throw invalid(name, text, TAKES_TIME);
  return bounded(name, text, BigInt(seconds) * NANOS_PER_MS + BigInt(fraction.padEnd(9, '0')), TAKES_TIME);
}

function bounded(name: string, text: string, nano: bigint, takes: string): bigint {
  if (nano > TIME_NANO_MAX) throw invalid(name, text, takes);
  return nano;
}

/** Beyond every time that a search can name; fits an unsigned and a signed 64-bit count. */
export const TIME_NANO_MAX = 0x7fff_ffff_ffff_ffffn;

export function parseInteger(name: string, text: string, min: number, max: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) throw invalid(name, text, `a whole number from ${min} to ${max}`);
  return value;
}

export function parseFlag(name: string, text: string): boolean {
  if (text === 'true' || text === '1' || text === '') return true;
  if (text === 'false' || text === '0') return false;
  throw invalid(name, text, 'true or false');
}

export function parseChoice<T extends string>(name: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw invalid(name, text, `one of ${choices.join(', ')}`);
  return found;
}
