import fc from 'fast-check';

/** Texts with things to redact in them, and near misses. */

const digit = (max = 9) => fc.nat({ max });

/** Card numbers that check, of 13 to 19 digits, plain or in groups. */
export const cardArbitrary = fc
  .tuple(fc.array(digit(), { minLength: 12, maxLength: 18 }), fc.constantFrom('', ' ', '-'), fc.constantFrom(4, 5, 3))
  .map(([digits, separator, every]) => {
    const body = [2 + (digits[0]! % 5), ...digits.slice(1)];
    const sum = [...body].reverse().reduce((total, d, i) => {
      const doubled = i % 2 === 0 ? d * 2 : d;
      return total + (doubled > 9 ? doubled - 9 : doubled);
    }, 0);
    const number = `${body.join('')}${(10 - (sum % 10)) % 10}`;
    return number.replace(new RegExp(`(.{${every}})(?=.)`, 'g'), `$1${separator}`);
  });

const word = fc.string({
  unit: fc.constantFrom(...'abcdefghijklmnopqrstuvwxyzABCDEF0123456789'),
  minLength: 1,
  maxLength: 8,
});

export const emailArbitrary = fc
  .tuple(
    fc.array(word, { minLength: 1, maxLength: 3 }),
    fc.constantFrom('.', '+', '-', '_'),
    word,
    fc.constantFrom('com', 'co.uk', 'example.org'),
  )
  .map(([local, joint, domain, top]) => `${local.join(joint)}@${domain}.${top}`);

export const bearerArbitrary = fc
  .tuple(
    fc.constantFrom('Bearer', 'bearer', 'BEARER', 'bEaRer'),
    fc.constantFrom(' ', '\t', '  ', ': ', '=', '%20'),
    word,
    word,
  )
  .map(([name, separator, a, b]) => `${name}${separator}${a}.${b}==`);

/** Pieces of all kinds, glued together or not. */
export const suspiciousText = fc
  .array(
    fc.oneof(
      cardArbitrary,
      emailArbitrary,
      bearerArbitrary,
      word,
      fc.constantFrom(
        ' ',
        ' ',
        ',',
        '/',
        '@',
        '-',
        '.',
        '4111',
        '1111 1111',
        'bearer',
        'earer ',
        'a@b',
        'x@y.z',
        'ü€😀',
        '.co',
        '00000000',
      ),
      fc.constantFrom(
        '3f2a9c4411111111',
        '123e4567-e89b-42d3-a456-426614174000',
        '1795176000000000000',
        '4111111111111112',
      ),
      fc.string({ maxLength: 6 }),
    ),
    { maxLength: 7 },
  )
  .map((pieces) => pieces.join(''));
