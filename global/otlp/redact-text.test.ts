import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PATTERN_NAMES, type PatternName, redactText, Suspects } from './redact-text.js';
import { redactString } from './testing/redaction-reference.js';
import { bearerArbitrary, cardArbitrary, emailArbitrary, suspiciousText } from './testing/redaction-texts.js';

const ALL: ReadonlySet<PatternName> = new Set(PATTERN_NAMES);

function redacted(text: string, patterns: ReadonlySet<PatternName> = ALL): string {
  const latin1 = Buffer.from(text).toString('latin1');
  return Buffer.from(redactText(latin1, patterns), 'latin1').toString();
}

describe('redactText', () => {
  test('e-mail addresses', () => {
    expect(redacted('from alice@example.com to')).toBe('from [redacted:email] to');
    expect(redacted('<bob.o+x@mail.example.co.uk>.')).toBe('<[redacted:email]>.');
    expect(redacted('see carol@example.org.')).toBe('see [redacted:email].');
    expect(redacted('/users?email=dave%40example.com&x=1')).toBe('/users?email=[redacted:email]&x=1');
    expect(redacted('müller@exämple.de')).toBe('[redacted:email]');
    expect(redacted('a@b.com@c.com')).toBe('[redacted:email]@c.com');
    for (const text of ['@opentelemetry/api', 'user@host', 'a@b.c', 'a @b.com', '50%40', 'x@10.0.0.1']) {
      expect(redacted(text)).toBe(text);
    }
  });

  test('card numbers', () => {
    for (const card of [
      '4111111111111111',
      '4111 1111 1111 1111',
      '5500-0000-0000-0004',
      '4222222222222',
      '6304000000000000000',
    ]) {
      expect(redacted(`pay ${card}, now`)).toBe('pay [redacted:card], now');
      expect(redacted(`card${card}`)).toBe('card[redacted:card]');
    }
    // Too short, too long, wrong last digit, two separators, part of a longer number, all zero, hexadecimal ids.
    for (const text of [
      '411111111112',
      '41111111111111111111',
      '4111111111111112',
      '4111  1111  1111  1111',
      '99994111111111111111',
      '0000000000000000',
      'd4111111111111111',
      '4111111111111111ef',
    ]) {
      expect(redacted(text)).toBe(text);
    }
    expect(redacted('12 4111 1111 1111 1111 7')).toBe('12 [redacted:card] 7');
  });

  test('bearer tokens', () => {
    expect(redacted('Authorization: Bearer eyJh.bGci-_~+/x==; q')).toBe('Authorization: [redacted:bearer]; q');
    expect(redacted('BEARER\tabc')).toBe('[redacted:bearer]');
    expect(redacted('auth=bearer%20abc&x')).toBe('auth=[redacted:bearer]&x');
    for (const text of ['bearer', 'bearer ', 'Bearer!abc', 'forbear x']) expect(redacted(text)).toBe(text);
  });

  test('only the named patterns', () => {
    const text = 'alice@example.com 4111111111111111 Bearer abc';
    expect(redacted(text, new Set(['card']))).toBe('alice@example.com [redacted:card] Bearer abc');
    expect(redacted(text, new Set())).toBe(text);
  });

  test('agrees with plain regular expressions on any text', () => {
    fc.assert(
      fc.property(suspiciousText, (text) => {
        expect(redacted(text)).toBe(redactString(text));
      }),
      { numRuns: 3000 },
    );
  });

  test('nothing sensitive survives, whatever stands around it', () => {
    const sensitive = fc.oneof(cardArbitrary, emailArbitrary, bearerArbitrary);
    const around = fc.string({ unit: fc.constantFrom(...' ,;:/?&"()[]<>\n', 'ü', '字') });
    fc.assert(
      fc.property(around, sensitive, around, (before, secret, after) => {
        expect(redacted(`${before}${secret}${after}`)).not.toContain(secret);
      }),
      { numRuns: 1000 },
    );
  });

  // 64 KiB is the longest string that is let in; a quadratic search would take minutes for each.
  test.each([
    '@',
    'a@',
    '%40',
    'x%40',
    '.',
    'a.',
    '1',
    '1 ',
    '1-',
    'a1',
    'bearer ',
    'bearer',
    'bearer+',
    '%20',
    'é',
    '4111 1111 1111 1112 ',
  ])('takes linear time for 64 KiB of %j', (piece) => {
    const text = piece.repeat(Math.ceil(65_536 / piece.length));
    expect(redacted(text).length).toBeLessThanOrEqual(text.length * 3);
    expect(redacted(`bearer${text}`).length).toBeGreaterThan(0);
  });
});

describe('Suspects', () => {
  test('marks every place where something has to be redacted, wherever it stands in a batch', () => {
    const suspects = new Suspects();
    const noise = fc.uint8Array({ maxLength: 150 });
    fc.assert(
      fc.property(noise, suspiciousText, noise, (before, text, after) => {
        const bytes = Buffer.from(text);
        suspects.inspect(Buffer.concat([before, bytes, after]), ALL);
        if (redacted(text) !== text) expect(suspects.any(before.length, before.length + bytes.length)).toBe(true);
      }),
      { numRuns: 3000 },
    );
  });

  test('marks each pattern by itself, up to both ends of the batch, and not when it is not asked for', () => {
    const suspects = new Suspects();
    const texts: Record<PatternName, string> = { email: 'a@bc.de', card: '4222222222222', bearer: 'bearer x' };
    for (const name of PATTERN_NAMES) {
      for (let shift = 0; shift < 130; shift++) {
        const batch = Buffer.concat([Buffer.alloc(shift), Buffer.from(texts[name])]);
        suspects.inspect(batch, new Set([name]));
        expect(suspects.any(shift, batch.length)).toBe(true);
        suspects.inspect(batch, new Set(PATTERN_NAMES.filter((other) => other !== name)));
        expect(suspects.any(0, batch.length)).toBe(false);
      }
    }
  });

  test('forgets the last batch, and has no mark in an empty range', () => {
    const suspects = new Suspects();
    suspects.inspect(Buffer.from('alice@example.com'), ALL);
    expect(suspects.any(0, 17)).toBe(true);
    expect(suspects.any(5, 5)).toBe(false);
    suspects.inspect(Buffer.from('alice at example.com'), ALL);
    expect(suspects.any(0, 17)).toBe(false);
  });

  test('ordinary spans have none', () => {
    const suspects = new Suspects();
    const text =
      'GET /v1/orders/{id} @opentelemetry/instrumentation-http 123e4567-e89b-42d3-a45b-42661417400f a bear 1795176000';
    suspects.inspect(Buffer.from(text), ALL);
    expect(suspects.any(0, text.length)).toBe(false);
  });
});
