/**
 * Finding e-mail addresses, card numbers and bearer tokens in text. All of it works on bytes or on `latin1` strings of UTF-8, where a byte
 * from 0x80 up is part of some letter: it counts as one in addresses. Every function is linear in the text.
 *
 * - e-mail: a local part, `@` (or `%40`, as in a URL), a domain with a dot followed by two letters.
 * - card: 13 to 19 digits (ISO/IEC 7812), single spaces or dashes allowed between them, whose last digit checks by Luhn
 *   and that are no part of a longer number. The first digit is 2 to 6, as every payment scheme's is: Unix times in
 *   milliseconds and nanoseconds begin with 1, and one in ten of them checks by Luhn. Not a card: digits of a hexadecimal id, that is with letters a to f
 *   glued to them and no other letter; an id in a thousand would be taken for a card otherwise.
 * - bearer: the word in any case, separators (space, tab, `+`, `:`, `=`, `%20`), a token (RFC 6750).
 */
export type PatternName = 'email' | 'card' | 'bearer';

export const PATTERN_NAMES: readonly PatternName[] = ['email', 'card', 'bearer'];

const LOCAL = 1;
const DOMAIN = 2;
const LETTER = 4;
const DIGIT = 8;
const SEPARATOR = 16;
const HEX = 32;

/** What a byte may be part of. */
const classes = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) {
  const char = String.fromCharCode(byte);
  if (byte >= 0x80 || /[A-Za-z0-9._%+'!#$*^`{|}~-]/.test(char)) classes[byte]! |= LOCAL;
  if (byte >= 0x80 || /[A-Za-z0-9.-]/.test(char)) classes[byte]! |= DOMAIN;
  if (byte >= 0x80 || /[A-Za-z]/.test(char)) classes[byte]! |= LETTER;
  if (/[0-9]/.test(char)) classes[byte]! |= DIGIT;
  if (/[ -]/.test(char)) classes[byte]! |= SEPARATOR;
  if (/[0-9a-f]/i.test(char)) classes[byte]! |= HEX;
}

/** 4 for what a card may consist of, and 1 more for a digit. */
const cardByte = classes.map((kind) => ((kind & DIGIT) !== 0 ? 5 : (kind & SEPARATOR) !== 0 ? 4 : 0));

const CARD_DIGITS_MIN = 13;
const CARD_DIGITS_MAX = 19;
const CARD_CHARACTERS_MAX = 2 * CARD_DIGITS_MAX;
/** How far letters glued to a card's digits are looked at. */
const GLUED_MAX = 64;

/** The text with every match of the named patterns replaced by `[redacted:<name>]`; the same string where there is none. */
export function redactText(latin1: string, patterns: ReadonlySet<PatternName>): string {
  let text = latin1;
  if (patterns.has('bearer')) text = text.replace(BEARER_TOKEN, '[redacted:bearer]');
  if (patterns.has('email')) text = redactEmails(text);
  if (patterns.has('card')) text = redactCards(text);
  return text;
}

// Linear: the separators give back at most what the token cannot take, and no start lies within another's separators.
const BEARER_TOKEN = /bearer(?:[\t +:=]|%20)+[-A-Za-z0-9._~+/%]+=*/gi;

function redactEmails(text: string): string {
  let result = '';
  let copied = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code !== 0x40 && !(code === 0x25 && text.startsWith('40', i + 1))) continue;
    // The domain first: domains do not overlap, so looking at each is linear; a local part is only walked back over once it will be replaced.
    const domain = i + (code === 0x40 ? 1 : 3);
    let to = domain;
    let dotted = false;
    for (; is(text, to, DOMAIN); to++) {
      if (text.charCodeAt(to) === 0x2e && to > domain && is(text, to + 1, LETTER) && is(text, to + 2, LETTER)) {
        dotted = true;
      }
    }
    if (!dotted) continue;
    let from = i;
    while (from > copied && is(text, from - 1, LOCAL)) from--;
    if (from === i) continue;
    while (text[to - 1] === '.' || text[to - 1] === '-') to--;
    result += `${text.slice(copied, from)}[redacted:email]`;
    copied = to;
    i = to - 1;
  }
  return copied === 0 ? text : result + text.slice(copied);
}

function redactCards(text: string): string {
  let result = '';
  let copied = 0;
  let i = 0;
  while (i < text.length) {
    if (!is(text, i, DIGIT)) {
      i++;
      continue;
    }
    const to = cardEnd(text, i);
    if (to > 0) {
      result += `${text.slice(copied, i)}[redacted:card]`;
      copied = to;
      i = to;
    } else while (is(text, i, DIGIT)) i++;
  }
  return copied === 0 ? text : result + text.slice(copied);
}

/** The end of the longest card number that begins at `start`, the first digit of a group; -1 for none. */
function cardEnd(text: string, start: number): number {
  const first = text.charCodeAt(start);
  if (first < 0x32 || first > 0x36) return -1;
  let digits = 0;
  // Luhn sums of the digits so far, if the last one counts once and if it counts twice.
  let once = 0;
  let twice = 0;
  let best = -1;
  for (let j = start; ; j++) {
    for (; is(text, j, DIGIT); j++) {
      if (++digits > CARD_DIGITS_MAX) return best;
      const digit = text.charCodeAt(j) - 0x30;
      const doubled = digit > 4 ? digit * 2 - 9 : digit * 2;
      const before = twice;
      twice = once + doubled;
      once = before + digit;
    }
    if (digits >= CARD_DIGITS_MIN && once > 0 && once % 10 === 0 && !inHexId(text, start, j)) best = j;
    if (!is(text, j, SEPARATOR) || !is(text, j + 1, DIGIT)) return best;
  }
}

function inHexId(text: string, from: number, to: number): boolean {
  let left = from;
  while (left > 0 && from - left < GLUED_MAX && isAlphanumeric(text, left - 1))
    if (!is(text, --left, HEX)) return false;
  let right = to;
  while (right - to < GLUED_MAX && isAlphanumeric(text, right)) if (!is(text, right++, HEX)) return false;
  return left < from || right > to;
}

/** False past the end of the text. */
function is(text: string, at: number, what: number): boolean {
  return at < text.length && (classes[text.charCodeAt(at)]! & what) !== 0;
}

function isAlphanumeric(text: string, at: number): boolean {
  return at < text.length && text.charCodeAt(at) < 0x80 && is(text, at, LETTER | DIGIT);
}

const BLOCK_BITS = 6;
const BLOCK = 1 << BLOCK_BITS;
/** One native search per so many bytes, then blocks are gone through by hand. */
const CALLS_BITS = 7;

/**
 * The places of a batch where a pattern may match, found in a few fast passes over its bytes, whatever they mean: a range without a mark
 * holds no match. Marks are kept per 64 bytes; what lies in a marked range still has to be looked at.
 */
export class Suspects {
  #marks = new Uint8Array(4096);
  #blocks = 0;
  #count = 0;

  /** Looks at a batch; forgets the last one. */
  inspect(batch: Buffer, patterns: ReadonlySet<PatternName>): void {
    this.#blocks = (batch.length >>> BLOCK_BITS) + 1;
    if (this.#marks.length < this.#blocks) this.#marks = new Uint8Array(this.#blocks * 2);
    else this.#marks.fill(0, 0, this.#blocks);
    this.#count = 0;
    if (patterns.has('email')) {
      this.#markAll(batch, 0x40, mayBeAddress);
      this.#markAll(batch, 0x25, mayBeAddress);
    }
    if (patterns.has('bearer')) for (const start of BEARER_STARTS) this.#markAll(batch, start, mayBeBearer);
    if (patterns.has('card')) this.#markCards(batch);
  }

  /** Whether a match may lie in [from, to) of the batch. */
  any(from: number, to: number): boolean {
    if (this.#count === 0 || to <= from) return false;
    const marks = this.#marks;
    const last = (to - 1) >>> BLOCK_BITS;
    for (let block = from >>> BLOCK_BITS; block <= last; block++) if (marks[block] !== 0) return true;
    return false;
  }

  #mark(at: number): void {
    this.#marks[at >>> BLOCK_BITS] = 1;
    this.#count++;
  }

  /**
   * Marks the places of a needle that `confirms` says may be a match. Native search finds the needle; where it is frequent, its blocks are gone
   * through by hand, so that a batch full of needles costs no more.
   */
  #markAll(batch: Buffer, needle: number | Buffer, confirms: (batch: Buffer, at: number) => boolean): void {
    const last = batch.length - 1;
    let calls = batch.length >>> CALLS_BITS;
    let at = batch.indexOf(needle);
    while (at >= 0) {
      let next = at + 1;
      if (confirms(batch, at)) {
        this.#mark(at);
        next = (at | (BLOCK - 1)) + 1;
      } else if (calls-- <= 0) {
        next = (at | (BLOCK - 1)) + 1;
        for (let i = at + 1; i < next && i < last; i++) {
          if (confirms(batch, i)) {
            this.#mark(i);
            break;
          }
        }
      }
      at = next < last ? batch.indexOf(needle, next) : -1;
    }
  }

  /** Every 13th byte, as a card covers one of those, and with it at least six neighbours on one side. */
  #markCards(batch: Buffer): void {
    const last = batch.length - 4;
    let p = CARD_DIGITS_MIN - 1;
    for (; p < last; p += CARD_DIGITS_MIN) {
      if (cardByte[batch[p]!] === 0) continue;
      const right = cardByte[batch[p + 1]!]! & cardByte[batch[p + 2]!]! & cardByte[batch[p + 3]!]!;
      const left = cardByte[batch[p - 1]!]! & cardByte[batch[p - 2]!]! & cardByte[batch[p - 3]!]!;
      if ((right | left) !== 0 && digitsAround(batch, p)) this.#mark(p);
    }
    if (p < batch.length && digitsAround(batch, p)) this.#mark(p);
  }
}

/** Native search finds two letters fast, and in the usual spellings `be` is not frequent. */
const BEARER_STARTS = ['be', 'Be', 'BE', 'bE'].map((letters) => Buffer.from(letters));
const BEARER_LETTERS = 6;

function mayBeAddress(b: Buffer, at: number): boolean {
  let domain = at + 1;
  if (b[at] === 0x25) {
    if (at + 3 >= b.length || b[at + 1] !== 0x34 || b[at + 2] !== 0x30) return false;
    domain = at + 3;
  } else if (b[at] !== 0x40) return false;
  if (at === 0 || (classes[b[at - 1]!]! & LOCAL) === 0) return false;
  // Domains do not overlap, so this is linear.
  const last = b.length - 2;
  for (let i = domain; i < last && (classes[b[i]!]! & DOMAIN) !== 0; i++) {
    if (b[i] !== 0x2e || i === domain) continue;
    if ((classes[b[i + 1]!]! & LETTER) !== 0 && (classes[b[i + 2]!]! & LETTER) !== 0) return true;
  }
  return false;
}

function mayBeBearer(b: Buffer, at: number): boolean {
  return (
    (b[at]! | 0x20) === 0x62 &&
    at + BEARER_LETTERS < b.length &&
    (b[at + 1]! | 0x20) === 0x65 &&
    (b[at + 2]! | 0x20) === 0x61 &&
    (b[at + 3]! | 0x20) === 0x72 &&
    (b[at + 4]! | 0x20) === 0x65 &&
    (b[at + 5]! | 0x20) === 0x72
  );
}

/** Whether position `p` lies in a run of digits and separators with enough digits near it for a card. */
function digitsAround(b: Buffer, p: number): boolean {
  const from = Math.max(0, p - CARD_CHARACTERS_MAX);
  const to = Math.min(b.length, p + CARD_CHARACTERS_MAX);
  let left = p;
  while (left > from && cardByte[b[left - 1]!] !== 0) left--;
  let right = p + 1;
  while (right < to && cardByte[b[right]!] !== 0) right++;
  if (right - left < CARD_DIGITS_MIN) return false;
  let digits = 0;
  for (let i = left; i < right; i++) digits += cardByte[b[i]!]! & 1;
  return digits >= CARD_DIGITS_MIN;
}
