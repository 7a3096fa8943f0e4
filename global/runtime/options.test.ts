import { describe, expect, test } from 'vitest';
import {
  choice,
  environmentName,
  flag,
  flagName,
  integer,
  list,
  optionalText,
  resolveOptions,
  text,
} from './options.js';

const TABLE = {
  name: text({ help: 'a name' }),
  drainMs: integer({ help: 'a wait', unit: 'ms', default: 10, min: 0, max: 100 }),
  on: flag({ help: 'a switch', default: false }),
  items: list({ help: 'some items', default: [] }),
  level: choice({ help: 'a level', default: 'low', choices: ['low', 'high'] as const }),
  secretFile: optionalText({ help: 'a file' }),
};

const resolve = (value: unknown, environment = {}, flags = {}) =>
  resolveOptions(TABLE, { file: { path: 'x.json', value }, environment, flags });

describe('resolveOptions', () => {
  test('a flag beats the environment, which beats the file, which beats the default', () => {
    expect(resolve({ name: 'file' })).toMatchObject({
      name: 'file',
      drainMs: 10,
      on: false,
      items: [],
      secretFile: null,
    });
    expect(resolve({ name: 'file', drainMs: 1 }, { MERIDIAN_DRAIN_MS: '2' }).drainMs).toBe(2);
    expect(resolve({ name: 'file', drainMs: 1 }, { MERIDIAN_DRAIN_MS: '2' }, { drainMs: 3 }).drainMs).toBe(3);
  });

  test('every kind from text', () => {
    const environment = {
      MERIDIAN_NAME: 'n',
      MERIDIAN_ON: 'on',
      MERIDIAN_ITEMS: 'a, b',
      MERIDIAN_LEVEL: 'high',
      MERIDIAN_SECRET_FILE: 'f',
    };
    expect(resolveOptions(TABLE, { environment })).toEqual({
      name: 'n',
      drainMs: 10,
      on: true,
      items: ['a', 'b'],
      level: 'high',
      secretFile: 'f',
    });
  });

  test.each([
    [{ name: 'n', drainMs: 100 }, 100],
    [{ name: 'n', drainMs: 0 }, 0],
  ])('at the limits %j', (value, drainMs) => expect(resolve(value).drainMs).toBe(drainMs));

  test.each([
    [{ name: 'n', drainMs: 101 }, /x\.json: drainMs: 101 is not in 0\.\.100 ms/],
    [{ name: 'n', drainMs: -1 }, /not in/],
    [{ name: 'n', drainMs: 1.5 }, /no whole number/],
    [{ name: 'n', on: 'maybe' }, /neither true nor false/],
    [{ name: 'n', level: 'middle' }, /not one of low, high/],
    [{ name: 'n', items: [''] }, /no list of texts/],
    [{ name: 7 }, /no text/],
    [{}, /"name" is missing: a name/],
    [[], /no JSON object|not a JSON object/],
    [{ name: 'n', drianMs: 1 }, /unknown key "drianMs" - did you mean "drainMs"\?/],
  ])('%j is refused', (value, message) => {
    expect(() => resolve(value)).toThrow(message);
    expect(() => resolve(value)).toThrow(expect.objectContaining({ code: 'configuration' }));
  });

  test('names', () => {
    expect(environmentName('otlpHttpPort')).toBe('MERIDIAN_OTLP_HTTP_PORT');
    expect(flagName('otlpHttpPort')).toBe('--otlp-http-port');
  });
});
