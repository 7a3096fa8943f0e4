import { describe, expect, test } from 'vitest';
import {
  DEAD_LETTER_HEADER,
  DEAD_LETTER_MESSAGE_CHARACTERS_MAX,
  type DeadLetter,
  deadLetterEntry,
  readDeadLetter,
} from './dead-letter.js';

const letter = { topic: 't', partition: 1, offset: 2, state: 'poison', code: 'malformed', message: 'm' } as const;
const record = { key: Buffer.of(3), value: Buffer.of(7), headers: { other: Buffer.of(1) } };

describe('dead letters', () => {
  test('keep the record as it was; golden bytes of the header', () => {
    const { headers, ...rest } = deadLetterEntry(letter, record);
    expect(rest).toEqual({ key: Buffer.of(3), value: Buffer.of(7) });
    expect(headers.other).toEqual(Buffer.of(1));
    expect(Buffer.from(headers[DEAD_LETTER_HEADER]!).toString('latin1')).toBe(
      '\x01{"topic":"t","partition":1,"offset":2,"state":"poison","code":"malformed","message":"m"}',
    );
  });

  test.each<DeadLetter>([
    letter,
    { ...letter, state: 'resolved', code: '', message: '' },
    { ...letter, message: 'nö 😀 "quoted"' },
  ])('come back as they were written: %o', (written) => {
    expect(readDeadLetter(deadLetterEntry(written, record).headers)).toEqual(written);
  });

  test.each([
    [DEAD_LETTER_MESSAGE_CHARACTERS_MAX, DEAD_LETTER_MESSAGE_CHARACTERS_MAX],
    [DEAD_LETTER_MESSAGE_CHARACTERS_MAX + 1, DEAD_LETTER_MESSAGE_CHARACTERS_MAX],
  ])('a message of %i characters keeps %i', (written, kept) => {
    const entry = deadLetterEntry({ ...letter, message: 'x'.repeat(written) }, record);
    expect(readDeadLetter(entry.headers)?.message).toHaveLength(kept);
  });

  test('a record without the header is none; other versions and other contents are told apart', () => {
    expect(readDeadLetter({ other: Buffer.of(1) })).toBeNull();
    const of = (text: string) => () => readDeadLetter({ [DEAD_LETTER_HEADER]: Buffer.from(text, 'latin1') });
    expect(of('\x02{}')).toThrow(expect.objectContaining({ code: 'unknown-version' }));
    expect(of('')).toThrow(expect.objectContaining({ code: 'unknown-version' }));
    expect(of('\x01{')).toThrow(expect.objectContaining({ code: 'malformed' }));
    expect(of('\x01{"topic":1}')).toThrow(expect.objectContaining({ code: 'malformed' }));
    const { message: _, ...without } = letter;
    expect(of(`\x01${JSON.stringify(without)}`)).toThrow(expect.objectContaining({ code: 'malformed' }));
  });
});
