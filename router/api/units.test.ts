import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { testFleet } from '../testing/query-rig.js';
import { readCommon } from './common-parameters.js';
import { readParameters } from './parameters.js';
import { readSearch, SEARCH_PARAMETERS } from './search-parameters.js';
import { parseDuration, parseFlag, parseInteger, parseTime } from './units.js';

const invalid = expect.objectContaining({ name: 'MeridianError', code: 'invalid' });

describe('units', () => {
  test.each([
    ['250ms', 250_000_000n],
    ['1.5s', 1_500_000_000n],
    ['0s', 0n],
    ['2m', 120_000_000_000n],
    ['1h', 3_600_000_000_000n],
    ['10us', 10_000n],
    ['10µs', 10_000n],
    ['7ns', 7n],
    ['0.000000001s', 1n],
    ['1.5ns', 1n],
  ])('duration %s', (text, nano) => {
    expect(parseDuration('d', text)).toBe(nano);
  });

  test.each(['', '5', 's', '-1s', '1 s', '1d', '1e3s', '2562048h', '1..5s', '0x1s'])('no duration: "%s"', (text) => {
    expect(() => parseDuration('d', text)).toThrow(invalid);
  });

  const T = 1_763_726_400n;
  test.each([
    ['1763726400', T * 1_000_000_000n],
    ['1763726400.25', T * 1_000_000_000n + 250_000_000n],
    ['1763726400123', T * 1_000_000_000n + 123_000_000n],
    ['1763726400123456', T * 1_000_000_000n + 123_456_000n],
    ['1763726400123456789', T * 1_000_000_000n + 123_456_789n],
    ['9223372036.854775807', 0x7fff_ffff_ffff_ffffn],
    ['9223372036854775807', 0x7fff_ffff_ffff_ffffn],
    ['2025-11-21T12:00:00Z', T * 1_000_000_000n],
    ['2025-11-21T13:00:00.123456789+01:00', T * 1_000_000_000n + 123_456_789n],
  ])('time %s', (text, nano) => {
    expect(parseTime('t', text)).toBe(nano);
  });

  test.each([
    '9223372036.854775808',
    '9223372036854775808',
    '2300-01-01T00:00:00Z',
    '',
    'now',
    '-5',
    '2025-11-21',
    '2025-13-41T00:00:00Z',
    '1763726400123.5',
    '99999999999999999999',
  ])('no time: "%s"', (text) => {
    expect(() => parseTime('t', text)).toThrow(invalid);
  });

  test('whole numbers and flags', () => {
    expect(parseInteger('n', '1000', 1, 1000)).toBe(1000);
    for (const text of ['1001', '0', '-1', '1.5', 'x', ''])
      expect(() => parseInteger('n', text, 1, 1000)).toThrow(invalid);
    expect([parseFlag('f', 'true'), parseFlag('f', '0'), parseFlag('f', '')]).toEqual([true, false, true]);
    expect(() => parseFlag('f', 'yes')).toThrow(invalid);
  });
});

describe('parameters', () => {
  const read = (query: string) =>
    readSearch(readParameters(`/v1/traces?${query}`, SEARCH_PARAMETERS), testFleet(), 10n ** 18n);

  test('a search with everything, by both names', () => {
    const byName = read(
      'service=a&service=b&operation=GET%20%2F&attr=k%3Dv%3Dw&error=true&kind=server&minDuration=1ms&maxDuration=1s&start=1&end=2&limit=5&regions=us-east-1,eu-west-1',
    );
    expect(byName).toMatchObject({
      query: {
        service: 'a',
        operation: 'GET /',
        attributes: [{ key: 'k', value: 'v=w' }],
        error: true,
        kind: 2,
        durationNanoMin: 1_000_000n,
        durationNanoMax: 1_000_000_000n,
        startUnixNanoMin: 1_000_000_000n,
        startUnixNanoMax: 2_000_000_000n,
      },
      services: ['a', 'b'],
      limit: 5,
      only: new Set(['us-east-1', 'eu-west-1']),
    });
    const byAlias = read('service_name=a&tag=k:v&kind=SPAN_KIND_CLIENT&time_range=5m');
    expect(byAlias.query).toMatchObject({
      service: 'a',
      attributes: [{ key: 'k', value: 'v' }],
      kind: 3,
      startUnixNanoMin: 10n ** 18n - 300_000_000_000n,
    });
  });

  test('an alias and its name are one parameter', () => {
    expect(() => read('start=1&start_time=2')).toThrow(/more than once/);
    expect(read('service=a&service_name=b').services).toEqual(['a', 'b']);
  });

  test('attributes at their limits and one past', () => {
    expect(read(`attr=${'k'.repeat(256)}%3D${'v'.repeat(4096)}`).query.attributes).toHaveLength(1);
    expect(() => read(`attr=${'k'.repeat(257)}%3Dv`)).toThrow(/more than 256 bytes/);
    expect(() => read(`attr=k%3D${'v'.repeat(4097)}`)).toThrow(/more than 4096 bytes/);
    expect(read('attr=a%3Db&'.repeat(16)).query.attributes).toHaveLength(16);
    expect(() => read('attr=a%3Db&'.repeat(17))).toThrow(/more than 16 values/);
  });

  test('deadlines at their limits', () => {
    const deadline = (text: string) =>
      readCommon(readParameters(`/?deadline=${text}`, SEARCH_PARAMETERS), 5000).deadlineMs;
    expect([deadline('10ms'), deadline('60s')]).toEqual([10, 60_000]);
    for (const text of ['9.9ms', '60.001s']) expect(() => deadline(text)).toThrow(/between 10ms and 60s/);
    expect(readCommon(readParameters('/', []), 5000)).toEqual({ partial: 'warn', deadlineMs: 5000, explain: false });
  });

  test('no query string throws anything but the typed error', () => {
    const names = fc.constantFrom(...SEARCH_PARAMETERS.map((p) => p.name), 'tag', 'nonsense', '__proto__');
    const value = fc.oneof(fc.string(), fc.nat().map(String), fc.constantFrom('1s', 'a=b', '%', '%ff', 'true', '5m'));
    fc.assert(
      fc.property(fc.array(fc.tuple(names, value), { maxLength: 6 }), (pairs) => {
        try {
          read(pairs.map(([n, v]) => `${n}=${v}`).join('&'));
        } catch (error) {
          expect(error).toMatchObject({ name: 'MeridianError', code: expect.stringMatching(/^(invalid|too-large)$/) });
        }
      }),
      { numRuns: 2000 },
    );
  });
});
